/*
 * The head of a request as filters see it, in memory that its judge reads as well: its method, its target and its lines as `name: value`,
 * a line feed between each two of them. They are those of services/runtime/http/http1-request.ts and
 * services/runtime/http2/http2-request.ts, in the same order; a test holds them together. Says no to whatever is rare: who looks then
 * reads it anew.
 */
#ifndef MIRRORD_STEALER_HEAD_LINES_H
#define MIRRORD_STEALER_HEAD_LINES_H

#include <cstddef>
#include <cstdint>
#include <string>

#include "header_table.h"

/* What the longest head of either version comes to. */
static constexpr size_t HEAD_LINES_BYTES = 128 * 1024;

class HeadLines
{
      public:
	/* @param memory of HEAD_LINES_BYTES, which outlives this */
	explicit HeadLines(uint8_t *memory) : memory_(memory) {}

	/* A plain one of HTTP/1 (plain_message.h). */
	bool take(const uint8_t *head, size_t size);
	/* One of HTTP/2: its fields in order. */
	void begin();
	bool add(const struct header_field &field);
	bool finish();

	/* Offsets behind each of the three. */
	size_t method_end() const { return method_end_; }
	size_t target_end() const { return target_end_; }
	size_t end() const { return end_; }

      private:
	bool has_room(size_t bytes) const { return HEAD_LINES_BYTES - end_ >= bytes; }
	void put(const char *bytes, size_t size);
	bool put_start(const char *method, size_t method_size, const char *target, size_t target_size);
	bool put_line(const char *name, size_t name_size, const char *value, size_t value_size, bool is_lowered);
	bool keep_pseudo(const struct header_field &field);

	uint8_t *const memory_;
	size_t method_end_ = 0;
	size_t target_end_ = 0;
	size_t end_ = 0;
	/* Of HTTP/2: what stands elsewhere than it came. */
	std::string method_;
	std::string path_;
	std::string authority_;
	std::string cookies_;
	bool has_method_ = false;
	bool has_path_ = false;
	bool has_authority_ = false;
	bool has_cookies_ = false;
	bool has_host_ = false;
	bool has_start_ = false;
};

#endif
