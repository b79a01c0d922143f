/* One connection in TLS: OpenSSL's records over a socket that is written once for many of them. */
#include "tls.h"

#include <algorithm>
#include <cerrno>

#include "openssl.h"
#include "sockets.h"

namespace
{

/* Plaintext that is encrypted before the kernel is asked to take it. */
constexpr size_t WRITE_BYTES = 64 * 1024;
/* More than that waits of what is encrypted only for a peer that asks for it and does not read. */
constexpr size_t MAX_PENDING_BYTES = 256 * 1024;

/* What one call encrypts, before it is given to the kernel. */
thread_local std::vector<uint8_t> encrypted;

int bio_write(struct bio_st *bio, const char *bytes, int size)
{
	return static_cast<TlsStream *>(BIO_get_data(bio))->on_write(bytes, size);
}

int bio_read(struct bio_st *bio, char *bytes, int size)
{
	BIO_clear_flags(bio, MIRRORD_BIO_READ | MIRRORD_BIO_RETRY);
	return static_cast<TlsStream *>(BIO_get_data(bio))->on_read(bio, bytes, size);
}

long bio_control(struct bio_st *, int command, long, void *)
{
	return command == MIRRORD_BIO_CTRL_FLUSH ? 1 : 0;
}

struct bio_method_st *own_method()
{
	static struct bio_method_st *method = [] {
		struct bio_method_st *made = BIO_meth_new(BIO_get_new_index() | MIRRORD_BIO_SOURCE_SINK, "mirrord");

		BIO_meth_set_write(made, bio_write);
		BIO_meth_set_read(made, bio_read);
		BIO_meth_set_ctrl(made, bio_control);
		return made;
	}();

	return method;
}

} // namespace

TlsStream::TlsStream(int fd, std::shared_ptr<TlsContext> context, std::string name, std::string protocols)
        : fd_(fd), context_(std::move(context)), name_(std::move(name)), protocols_(std::move(protocols))
{
	struct bio_st *bio = BIO_new(own_method());

	ssl_ = SSL_new(context_->raw());
	BIO_set_data(bio, this);
	BIO_set_init(bio, 1);
	SSL_set_bio(ssl_, bio, bio);
	SSL_set_ex_data(ssl_, 0, this);
	if (context_->is_server()) {
		SSL_set_accept_state(ssl_);
		return;
	}
	SSL_set_connect_state(ssl_);
	if (!protocols_.empty())
		SSL_set_alpn_protos(ssl_, reinterpret_cast<const unsigned char *>(protocols_.data()), static_cast<unsigned>(protocols_.size()));
	if (!name_.empty()) {
		SSL_ctrl(ssl_, MIRRORD_SSL_HOST_NAME, 0, const_cast<char *>(name_.c_str()));
		if (context_->has_roots())
			SSL_set1_host(ssl_, name_.c_str());
	}
	const struct tls_session *last = context_->session_of(name_);

	/* OpenSSL uses one once; servers that give no new one with it take it again. */
	struct ssl_session_st *copy = last == nullptr ? nullptr : SSL_SESSION_dup(last->session);

	if (copy != nullptr && SSL_set_session(ssl_, copy) == 1)
		before_ = *last;
	SSL_SESSION_free(copy);
}

TlsStream::~TlsStream()
{
	/* Else its session would be taken for one that has failed. */
	SSL_set_shutdown(ssl_, MIRRORD_SSL_ENDED_BOTH);
	SSL_free(ssl_);
}

int TlsStream::on_write(const char *bytes, int size)
{
	encrypted.insert(encrypted.end(), bytes, bytes + size);
	return size;
}

int TlsStream::on_read(struct bio_st *bio, char *bytes, int size)
{
	int64_t count = is_drained_ && !is_ending_ ? -EAGAIN : socket_read(fd_, reinterpret_cast<uint8_t *>(bytes), static_cast<size_t>(size));

	if (count == -EAGAIN) {
		is_drained_ = true;
		BIO_set_flags(bio, MIRRORD_BIO_READ | MIRRORD_BIO_RETRY);
		return -1;
	}
	if (count == 0) {
		has_ended_ = true;
		is_torn_ = true;
		return 0;
	}
	if (count < 0) {
		error_ = static_cast<int>(count);
		return -1;
	}
	has_heard_ = true;
	is_drained_ = count < size;
	return static_cast<int>(count);
}

void TlsStream::on_session(struct ssl_session_st *session)
{
	context_->keep(name_, session, was_asked(), SSL_session_reused(ssl_) == 1 ? &before_ : nullptr);
}

/* Gives the kernel what was encrypted before, and now. Bytes that it did not take, or -errno. */
int64_t TlsStream::flush()
{
	std::vector<uint8_t> &now = pending_.empty() ? encrypted : pending_;
	int64_t taken;

	if (&now == &pending_ && !encrypted.empty()) {
		pending_.insert(pending_.end(), encrypted.begin(), encrypted.end());
		encrypted.clear();
	}
	if (now.empty())
		return 0;
	taken = socket_write(fd_, now.data(), now.size());
	if (taken >= 0 && &now == &pending_)
		pending_.erase(pending_.begin(), pending_.begin() + taken);
	else if (taken >= 0)
		pending_.assign(encrypted.begin() + taken, encrypted.end());
	encrypted.clear();
	if (pending_.empty() && is_end_due_) {
		is_end_due_ = false;
		socket_end(fd_);
	}
	if (taken >= 0 && pending_.size() > MAX_PENDING_BYTES)
		taken = -ENOBUFS;
	return taken < 0 ? taken : static_cast<int64_t>(pending_.size());
}

/* What a call of OpenSSL's has failed for: -EAGAIN when it is to be called again. */
int TlsStream::failed(int result)
{
	int kind = SSL_get_error(ssl_, result);
	unsigned long error = ERR_get_error();

	if (kind == MIRRORD_SSL_WANT_READ)
		return -EAGAIN;
	if (kind == MIRRORD_SSL_ZERO_RETURN)
		has_ended_ = true;
	else if (error_ == 0 && !has_ended_) {
		const char *reason = ERR_reason_error_string(error);

		fault_ = reason == nullptr ? "what it says is no TLS" : reason;
		error_ = -EPROTO;
	}
	ERR_clear_error();
	return has_ended_ ? 0 : error_;
}

int TlsStream::handshake()
{
	int64_t left;
	int result;

	if (error_ != 0)
		return error_;
	ERR_clear_error();
	result = SSL_do_handshake(ssl_);
	if (result == 1)
		is_known_ = true;
	else
		result = failed(result);
	left = flush();
	if (left < 0 && result != -EPROTO)
		return error_ = static_cast<int>(left);
	return result == 0 ? -ECONNRESET : result;
}

int64_t TlsStream::read(uint8_t *bytes, size_t size)
{
	size_t got = 0;
	int64_t result = -EAGAIN;

	if (!is_known_)
		return -EAGAIN;
	if (has_end())
		return has_ended_ ? 0 : error_;
	ERR_clear_error();
	while (got < size) {
		int count = SSL_read(ssl_, bytes + got, static_cast<int>(std::min<size_t>(size - got, INT32_MAX)));

		if (count <= 0) {
			result = failed(count);
			break;
		}
		got += static_cast<size_t>(count);
	}
	/* An answer to a message of TLS's own. What fails is met again by who writes. */
	if (flush() == -ENOBUFS)
		error_ = -ENOBUFS;
	return got > 0 ? static_cast<int64_t>(got) : result;
}

int64_t TlsStream::write(const uint8_t *bytes, size_t size)
{
	int64_t left;
	size_t done;

	if (!is_known_)
		return 0;
	left = flush();
	if (left != 0)
		return left < 0 ? left : 0;
	done = std::min(withheld_, size);
	withheld_ -= done;
	ERR_clear_error();
	while (done < size) {
		int count = SSL_write(ssl_, bytes + done, static_cast<int>(std::min(size - done, WRITE_BYTES)));

		if (count <= 0) {
			encrypted.clear();
			return -EPIPE;
		}
		done += static_cast<size_t>(count);
		left = flush();
		if (left < 0)
			return left;
		if (left > 0) {
			withheld_ = 1;
			return static_cast<int64_t>(done - 1);
		}
	}
	return static_cast<int64_t>(done);
}

int TlsStream::end(bool is_torn)
{
	ERR_clear_error();
	if (!is_torn)
		SSL_shutdown(ssl_);
	is_end_due_ = true;
	if (pending_.empty() && encrypted.empty()) {
		is_end_due_ = false;
		return socket_end(fd_);
	}
	return static_cast<int>(std::min<int64_t>(flush(), 0));
}

void TlsStream::on_ready(uint32_t mask)
{
	if ((mask & SOCKET_READABLE) != 0)
		is_drained_ = false;
	if ((mask & SOCKET_ENDS) != 0)
		is_ending_ = true;
	/* What fails is met again by who writes. */
	if ((mask & SOCKET_WRITABLE) != 0 && !pending_.empty())
		flush();
}

bool TlsStream::was_asked() const
{
	/* Algorithms to sign with come with the question for a certificate, and only with it. */
	return SSL_session_reused(ssl_) == 1 ? before_.asked : SSL_get_shared_sigalgs(ssl_, 0, nullptr, nullptr, nullptr, nullptr, nullptr) > 0;
}

std::string TlsStream::protocol() const
{
	const unsigned char *chosen = nullptr;
	unsigned size = 0;

	SSL_get0_alpn_selected(ssl_, &chosen, &size);
	return std::string(reinterpret_cast<const char *>(chosen), size);
}

void Streams::secure(int fd, std::unique_ptr<TlsStream> stream)
{
	size_t at = static_cast<size_t>(fd);

	if (at >= streams_.size())
		streams_.resize(at + 1);
	streams_[at] = std::move(stream);
}

int64_t Streams::read(int fd, uint8_t *bytes, size_t size) const
{
	TlsStream *stream = tls_of(fd);

	return stream == nullptr ? socket_read(fd, bytes, size) : stream->read(bytes, size);
}

int64_t Streams::write(int fd, const uint8_t *bytes, size_t size) const
{
	TlsStream *stream = tls_of(fd);

	return stream == nullptr ? socket_write(fd, bytes, size) : stream->write(bytes, size);
}

int Streams::end(int fd, bool is_torn) const
{
	TlsStream *stream = tls_of(fd);

	return stream == nullptr ? socket_end(fd) : stream->end(is_torn);
}

void Streams::forget(int fd)
{
	size_t at = static_cast<size_t>(fd);

	if (at < streams_.size())
		streams_[at].reset();
}
