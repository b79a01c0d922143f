/*
 * Connections in TLS by the OpenSSL of the process, over the sockets of sockets.h and with the same conventions: who reads and
 * writes one has its plaintext. What is encrypted leaves with as few system calls as plaintext would. Nothing here knows of Node.
 */
#ifndef MIRRORD_STEALER_TLS_H
#define MIRRORD_STEALER_TLS_H

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

struct ssl_st;
struct ssl_ctx_st;
struct ssl_session_st;
struct bio_st;

/* PEM, and empty for what there is none of. */
struct tls_identity {
	bool is_server;
	std::string certificate;
	std::string key;
	/* Who may say who the peer is. Without: everybody may be a client, and every server is believed. */
	std::string roots;
	/* As OpenSSL has it, TLS 1.3's among the others. */
	std::string ciphers;
};

struct tls_session {
	struct ssl_session_st *session;
	/* The server wanted a certificate when it began. */
	bool asked;
	int64_t begun_ms;
};

/* What many connections have in common. */
class TlsContext
{
      public:
	/* Null, and why, in OpenSSL's words and without a byte of what it was given. */
	static std::shared_ptr<TlsContext> make(const struct tls_identity &identity, std::string *fault);
	TlsContext(const TlsContext &) = delete;
	TlsContext &operator=(const TlsContext &) = delete;
	~TlsContext();

	struct ssl_ctx_st *raw() const { return raw_; }
	bool is_server() const { return is_server_; }
	bool has_roots() const { return has_roots_; }

	/* A server's last session by that name, if it has begun of late; stays the context's. */
	const struct tls_session *session_of(const std::string &name) const;
	/* Takes it over. @param before what it goes on with, null: nothing */
	void keep(const std::string &name, struct ssl_session_st *session, bool asked, const struct tls_session *before);

      private:

	explicit TlsContext(bool is_server) : is_server_(is_server) {}
	bool fill(const struct tls_identity &identity);

	struct ssl_ctx_st *raw_ = nullptr;
	bool is_server_;
	bool has_roots_ = false;
	std::map<std::string, struct tls_session> sessions_;
};

/* One connection. */
class TlsStream
{
      public:
	/*
	 * @param name of the server, empty: none
	 * @param protocols of ALPN, each behind its length; of a server at most one, which its client has to speak if it speaks ALPN
	 */
	TlsStream(int fd, std::shared_ptr<TlsContext> context, std::string name, std::string protocols);
	TlsStream(const TlsStream &) = delete;
	TlsStream &operator=(const TlsStream &) = delete;
	~TlsStream();

	/* As socket_read and socket_write. Bytes count as taken when the kernel has them in their encrypted form. */
	int64_t read(uint8_t *bytes, size_t size);
	int64_t write(const uint8_t *bytes, size_t size);
	/* 1 when both ends know each other, -EAGAIN while they do not, -EPROTO when they will not, or what the socket said. */
	int handshake();
	/* Says that nothing more comes; `is_torn`: only the socket does, as a peer's did that left without a word of TLS. */
	int end(bool is_torn);
	/* To be called with what epoll said before anything else is. */
	void on_ready(uint32_t mask);

	/* What a read would bring without that the kernel says so. */
	bool has_end() const { return has_ended_ || error_ != 0; }
	/* The peer ended without saying so in TLS: what it sent may have been cut short by anybody. */
	bool is_torn() const { return is_torn_; }
	bool has_heard() const { return has_heard_; }
	/* Of the server: it asked for a certificate. */
	bool was_asked() const;
	std::string protocol() const;
	std::string server_wants() const { return protocols_; }
	const std::string &fault() const { return fault_; }

	int on_write(const char *bytes, int size);
	int on_read(struct bio_st *bio, char *bytes, int size);
	void on_session(struct ssl_session_st *session);

      private:
	int failed(int result);
	int64_t flush();

	int fd_;
	std::shared_ptr<TlsContext> context_;
	std::string name_;
	std::string protocols_;
	struct ssl_st *ssl_ = nullptr;
	/* Encrypted, and not taken by the kernel. */
	std::vector<uint8_t> pending_;
	/* Bytes of those that are written next that are in `pending_`, or were: not told as taken. */
	size_t withheld_ = 0;
	std::string fault_;
	int error_ = 0;
	bool is_known_ = false;
	bool has_heard_ = false;
	/* The kernel has nothing until it says so. */
	bool is_drained_ = false;
	/* The peer has ended, or failed: reads tell. */
	bool is_ending_ = false;
	bool has_ended_ = false;
	bool is_torn_ = false;
	bool is_end_due_ = false;
	/* What it goes on with, if the server agrees. Its `session` is not ours. */
	struct tls_session before_ = {};
};

/* Sockets by descriptor, in TLS or not. */
class Streams
{
      public:
	void secure(int fd, std::unique_ptr<TlsStream> stream);
	/* Null: it is plain. */
	TlsStream *tls_of(int fd) const
	{
		size_t at = static_cast<size_t>(fd);

		return at < streams_.size() ? streams_[at].get() : nullptr;
	}
	int64_t read(int fd, uint8_t *bytes, size_t size) const;
	int64_t write(int fd, const uint8_t *bytes, size_t size) const;
	int end(int fd, bool is_torn) const;
	bool has_end(int fd) const
	{
		TlsStream *stream = tls_of(fd);

		return stream != nullptr && stream->has_end();
	}
	/* Before the descriptor is closed. */
	void forget(int fd);

      private:
	std::vector<std::unique_ptr<TlsStream>> streams_;
};

#endif
