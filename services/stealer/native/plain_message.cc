/* Reads what read_plain_request and read_plain_response may; says no wherever somebody might read it in another way. */
#include "plain_message.h"

#include <array>
#include <cstring>

namespace
{

constexpr uint8_t TOKEN = 1;
constexpr uint8_t TARGET = 2;
constexpr uint8_t VALUE = 4;
constexpr uint8_t CR = '\r';
constexpr uint8_t LF = '\n';
constexpr size_t VERSION_BYTES = 8;
/* Digits of a length that a double counts exactly. */
constexpr size_t MAX_LENGTH_DIGITS = 15;
/* Of a chunk's size: more than any read brings. */
constexpr size_t MAX_SIZE_DIGITS = 7;

constexpr bool is_tchar(unsigned octet)
{
	constexpr char marks[] = "!#$%&'*+-.^_`|~";

	if ((octet >= '0' && octet <= '9') || (octet >= 'a' && octet <= 'z') || (octet >= 'A' && octet <= 'Z'))
		return true;
	for (char mark : marks)
		if (mark != '\0' && octet == static_cast<unsigned char>(mark))
			return true;
	return false;
}

constexpr std::array<uint8_t, 256> classes_of_octets()
{
	std::array<uint8_t, 256> classes = {};

	for (unsigned octet = 0; octet < 256; octet++) {
		bool is_visible = octet > 0x20 && octet != 0x7f;
		unsigned sum = (is_tchar(octet) ? TOKEN : 0U) | (is_visible ? TARGET : 0U) |
		               (is_visible || octet == ' ' || octet == '\t' ? VALUE : 0U);

		classes[octet] = static_cast<uint8_t>(sum);
	}
	return classes;
}

constexpr std::array<uint8_t, 256> CLASSES = classes_of_octets();

/* What a head says of its message and its connection. */
struct facts {
	size_t head_end;
	uint64_t content_length;
	bool has_length;
	bool is_chunked;
	bool closes;
	int hosts;
};

/* `name` in lower case. */
bool is_text(const uint8_t *bytes, size_t size, const char *name)
{
	if (strlen(name) != size)
		return false;
	for (size_t i = 0; i < size; i++) {
		uint8_t octet = bytes[i];

		if ((octet >= 'A' && octet <= 'Z' ? octet + 0x20 : octet) != name[i])
			return false;
	}
	return true;
}

/* White space around a length is only spaces: some readers refuse tabs there. */
bool read_length(const uint8_t *bytes, size_t start, size_t end, struct facts *facts)
{
	while (start < end && bytes[start] == ' ')
		start++;
	while (end > start && bytes[end - 1] == ' ')
		end--;
	if (facts->has_length || start == end || end - start > MAX_LENGTH_DIGITS)
		return false;
	for (size_t at = start; at < end; at++) {
		if (bytes[at] < '0' || bytes[at] > '9')
			return false;
		facts->content_length = facts->content_length * 10 + (bytes[at] - '0');
	}
	facts->has_length = true;
	return true;
}

/* Likewise. */
bool read_coding(const uint8_t *bytes, size_t start, size_t end, struct facts *facts)
{
	while (start < end && bytes[start] == ' ')
		start++;
	while (end > start && bytes[end - 1] == ' ')
		end--;
	if (facts->is_chunked || !is_text(bytes + start, end - start, "chunked"))
		return false;
	facts->is_chunked = true;
	return true;
}

/* Keep-alive or close, alone. */
bool read_connection(const uint8_t *bytes, size_t start, size_t end, struct facts *facts)
{
	while (start < end && (bytes[start] == ' ' || bytes[start] == '\t'))
		start++;
	while (end > start && (bytes[end - 1] == ' ' || bytes[end - 1] == '\t'))
		end--;
	if (is_text(bytes + start, end - start, "close"))
		facts->closes = true;
	else if (!is_text(bytes + start, end - start, "keep-alive"))
		return false;
	return true;
}

/* False for a field that somebody has to think about. The value is from the colon to the line's end. */
bool is_plain_field(const uint8_t *bytes, size_t name, size_t colon, size_t end, bool is_request, struct facts *facts)
{
	const uint8_t *at = bytes + name;
	size_t size = colon - name;

	switch (size) {
	case 4:
		facts->hosts += is_text(at, size, "host");
		return true;
	case 6:
		return !is_text(at, size, "expect");
	case 7:
		return !is_request || !is_text(at, size, "upgrade");
	case 10:
		return !is_text(at, size, "connection") || read_connection(bytes, colon + 1, end, facts);
	case 14:
		if (is_text(at, size, "content-length"))
			return read_length(bytes, colon + 1, end, facts);
		return !is_request || !is_text(at, size, "http2-settings");
	case 17:
		return !is_text(at, size, "transfer-encoding") || read_coding(bytes, colon + 1, end, facts);
	default:
		return true;
	}
}

bool is_line_end(const uint8_t *bytes, size_t at, size_t size)
{
	return at + 1 < size && bytes[at] == CR && bytes[at + 1] == LF;
}

size_t behind(const uint8_t *bytes, size_t at, size_t size, uint8_t allowed)
{
	while (at < size && (CLASSES[bytes[at]] & allowed) != 0)
		at++;
	return at;
}

/* From the beginning of the line behind the first one, to the empty line. */
bool read_fields(const uint8_t *bytes, size_t at, size_t size, bool is_request, struct facts *facts)
{
	for (int fields = 0; !is_line_end(bytes, at, size); fields++) {
		size_t colon = behind(bytes, at, size, TOKEN);
		size_t end;

		if (fields == MAX_FIELDS || colon == at || colon >= size || bytes[colon] != ':')
			return false;
		end = behind(bytes, colon + 1, size, VALUE);
		if (!is_line_end(bytes, end, size) || !is_plain_field(bytes, at, colon, end, is_request, facts))
			return false;
		at = end + 2;
	}
	facts->head_end = at + 2;
	return facts->head_end <= MAX_HEAD_BYTES;
}

/* The digit's value; 16 for what is none. */
unsigned hex_value(uint8_t octet)
{
	if (octet >= '0' && octet <= '9')
		return octet - '0';
	octet |= 0x20;
	return octet >= 'a' && octet <= 'f' ? octet - 'a' + 10U : 16U;
}

/* All chunks to the end, the last one empty; without extensions and trailers. */
bool is_whole_chunked(const uint8_t *bytes, size_t at, size_t size)
{
	for (;;) {
		size_t left = 0;
		size_t digits = 0;

		for (; at < size && hex_value(bytes[at]) < 16; at++, digits++)
			left = left * 16 + hex_value(bytes[at]);
		if (digits == 0 || digits > MAX_SIZE_DIGITS || !is_line_end(bytes, at, size))
			return false;
		at += 2;
		if (size - at < left || !is_line_end(bytes, at + left, size))
			return false;
		at += left + 2;
		if (left == 0)
			return at == size;
	}
}

/* Whether what is behind the head is all of the body. */
bool has_whole_body(const uint8_t *bytes, size_t size, const struct facts *facts)
{
	if (facts->is_chunked)
		return !facts->has_length && is_whole_chunked(bytes, facts->head_end, size);
	return size - facts->head_end == facts->content_length;
}

bool is_version(const uint8_t *bytes, size_t at, size_t size)
{
	return size - at >= VERSION_BYTES && memcmp(bytes + at, "HTTP/1.1", VERSION_BYTES) == 0;
}

} // namespace

bool read_plain_request(const uint8_t *bytes, size_t size, struct plain_message *message)
{
	return read_plain_beginning(bytes, size, message) && message->left == 0;
}

bool read_plain_beginning(const uint8_t *bytes, size_t size, struct plain_message *message)
{
	struct facts facts = {};
	size_t method_end = behind(bytes, 0, size, TOKEN);
	size_t target_end;

	if (method_end == 0 || method_end + 1 >= size || bytes[method_end] != ' ' || bytes[method_end + 1] != '/')
		return false;
	if (method_end == 7 && memcmp(bytes, "CONNECT", 7) == 0)
		return false;
	target_end = behind(bytes, method_end + 1, size, TARGET);
	if (target_end >= size || bytes[target_end] != ' ' || !is_version(bytes, target_end + 1, size))
		return false;
	target_end += 1 + VERSION_BYTES;
	if (!is_line_end(bytes, target_end, size) || !read_fields(bytes, target_end + 2, size, true, &facts))
		return false;
	message->head_end = facts.head_end;
	message->is_head = method_end == 4 && memcmp(bytes, "HEAD", 4) == 0;
	message->closes = facts.closes;
	message->left = 0;
	if (facts.hosts > 1)
		return false;
	if (!facts.is_chunked && size - facts.head_end < facts.content_length) {
		message->left = facts.content_length - (size - facts.head_end);
		return true;
	}
	return has_whole_body(bytes, size, &facts);
}

bool read_plain_response(const uint8_t *bytes, size_t size, bool is_to_head, struct plain_message *message)
{
	constexpr size_t status = VERSION_BYTES + 1;
	struct facts facts = {};
	size_t at = status + 3;
	bool has_body;

	if (size < at || !is_version(bytes, 0, size) || bytes[status - 1] != ' ')
		return false;
	/* 1xx is no answer proper. */
	if (bytes[status] < '2' || bytes[status] > '9')
		return false;
	for (size_t digit = status + 1; digit < at; digit++)
		if (bytes[digit] < '0' || bytes[digit] > '9')
			return false;
	has_body = !is_to_head && memcmp(bytes + status, "204", 3) != 0 && memcmp(bytes + status, "304", 3) != 0;
	if (at < size && bytes[at] == ' ')
		at = behind(bytes, at, size, VALUE);
	if (!is_line_end(bytes, at, size) || !read_fields(bytes, at + 2, size, false, &facts))
		return false;
	message->head_end = facts.head_end;
	message->is_head = is_to_head;
	message->closes = facts.closes;
	message->left = 0;
	if (facts.is_chunked && facts.has_length)
		return false;
	if (!has_body)
		return facts.head_end == size;
	/* A body without either goes on until the connection ends. */
	return (facts.has_length || facts.is_chunked) && has_whole_body(bytes, size, &facts);
}
