/* What connections in TLS have in common: who we are, whom we believe, and the sessions that servers have given us. */
#include "tls.h"

#include <algorithm>
#include <chrono>

#include "openssl.h"

namespace
{

/* Plaintext of some records: what is read at once. */
constexpr size_t READ_BUFFER_BYTES = 64 * 1024 + 4096;
constexpr size_t MAX_SESSIONS = 64;
/* A server that begins to ask its clients for certificates is noticed within this time. */
constexpr int64_t SESSION_MS = 60000;

int64_t now_ms()
{
	return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

struct bio_st *bio_of(const std::string &text)
{
	return BIO_new_mem_buf(text.data(), static_cast<int>(text.size()));
}

/* Keys that need a password are not for us. */
int no_password(char *, int, int, void *)
{
	return 0;
}

/* The first one is ours, the others lead to whom the peer may know. */
bool use_chain(struct ssl_ctx_st *raw, const std::string &text)
{
	struct bio_st *bio = bio_of(text);
	struct x509_st *own = PEM_read_bio_X509_AUX(bio, nullptr, no_password, nullptr);
	bool is_good = own != nullptr && SSL_CTX_use_certificate(raw, own) == 1;
	struct x509_st *next;

	X509_free(own);
	while (is_good && (next = PEM_read_bio_X509(bio, nullptr, no_password, nullptr)) != nullptr) {
		/* Then the context's. */
		is_good = SSL_CTX_ctrl(raw, MIRRORD_SSL_ADD_CHAIN, 0, next) == 1;
		if (!is_good)
			X509_free(next);
	}
	BIO_free(bio);
	return is_good;
}

bool use_key(struct ssl_ctx_st *raw, const std::string &text)
{
	struct bio_st *bio = bio_of(text);
	struct evp_pkey_st *key = PEM_read_bio_PrivateKey(bio, nullptr, no_password, nullptr);
	/* Compares it with the certificate. */
	bool is_good = key != nullptr && SSL_CTX_use_PrivateKey(raw, key) == 1;

	EVP_PKEY_free(key);
	BIO_free(bio);
	return is_good;
}

bool use_roots(struct ssl_ctx_st *raw, const std::string &text, bool is_server)
{
	struct bio_st *bio = bio_of(text);
	struct x509_store_st *store = SSL_CTX_get_cert_store(raw);
	bool is_good = true;
	int count = 0;

	for (struct x509_st *root; is_good && (root = PEM_read_bio_X509_AUX(bio, nullptr, no_password, nullptr)) != nullptr; count++) {
		is_good = X509_STORE_add_cert(store, root) == 1 && (!is_server || SSL_CTX_add_client_CA(raw, root) == 1);
		X509_free(root);
	}
	BIO_free(bio);
	return is_good && count > 0;
}

/* OpenSSL wants TLS 1.3's apart. */
bool use_ciphers(struct ssl_ctx_st *raw, const std::string &list)
{
	std::string suites, others;

	for (size_t at = 0; at <= list.size();) {
		size_t end = std::min(list.find(':', at), list.size());
		std::string one = list.substr(at, end - at);
		std::string &into = one.compare(0, 4, "TLS_") == 0 ? suites : others;

		into += (into.empty() ? "" : ":") + one;
		at = end + 1;
	}
	return SSL_CTX_set_ciphersuites(raw, suites.c_str()) == 1 && SSL_CTX_set_cipher_list(raw, others.c_str()) == 1;
}

/* A client that speaks other protocols than the server, or us, is told so. */
int on_alpn(struct ssl_st *ssl, const unsigned char **chosen, unsigned char *chosen_size, const unsigned char *offered, unsigned size, void *)
{
	const std::string wanted = static_cast<TlsStream *>(SSL_get_ex_data(ssl, 0))->server_wants();

	if (wanted.empty())
		return MIRRORD_ALPN_NONE;
	for (unsigned at = 0; at < size; at += 1U + offered[at]) {
		if (wanted.size() != 1U + offered[at] || wanted.compare(0, std::string::npos, reinterpret_cast<const char *>(offered + at), wanted.size()) != 0)
			continue;
		*chosen = offered + at + 1;
		*chosen_size = offered[at];
		return MIRRORD_ALPN_OK;
	}
	return MIRRORD_ALPN_FATAL;
}

int on_session(struct ssl_st *ssl, struct ssl_session_st *session)
{
	static_cast<TlsStream *>(SSL_get_ex_data(ssl, 0))->on_session(session);
	return 1;
}

} // namespace

std::shared_ptr<TlsContext> TlsContext::make(const struct tls_identity &identity, std::string *fault)
{
	std::shared_ptr<TlsContext> context(new TlsContext(identity.is_server));

	ERR_clear_error();
	if (context->fill(identity))
		return context;
	const char *reason = ERR_reason_error_string(ERR_peek_last_error());

	*fault = reason == nullptr ? "it is none" : reason;
	ERR_clear_error();
	return nullptr;
}

bool TlsContext::fill(const struct tls_identity &identity)
{
	static const unsigned char session_context[] = "mirrord";

	raw_ = SSL_CTX_new(is_server_ ? TLS_server_method() : TLS_client_method());
	if (raw_ == nullptr)
		return false;
	SSL_CTX_ctrl(raw_, MIRRORD_SSL_LEAST_VERSION, MIRRORD_TLS_1_2, nullptr);
	SSL_CTX_ctrl(raw_, MIRRORD_SSL_MODE, MIRRORD_SSL_RELEASE_BUFFERS, nullptr);
	SSL_CTX_ctrl(raw_, MIRRORD_SSL_READ_AHEAD, 1, nullptr);
	SSL_CTX_set_default_read_buffer_len(raw_, READ_BUFFER_BYTES);
	SSL_CTX_set_options(raw_, MIRRORD_SSL_NO_RENEGOTIATION | (is_server_ ? MIRRORD_SSL_OWN_CIPHERS_FIRST : 0));
	SSL_CTX_set_session_id_context(raw_, session_context, sizeof session_context - 1);
	/* Clients have tickets. */
	SSL_CTX_ctrl(raw_, MIRRORD_SSL_SESSION_CACHE, is_server_ ? MIRRORD_SSL_CACHE_OFF : MIRRORD_SSL_CACHE_TOLD, nullptr);
	if (is_server_)
		SSL_CTX_set_alpn_select_cb(raw_, on_alpn, nullptr);
	else
		SSL_CTX_sess_set_new_cb(raw_, ::on_session);
	if (!use_ciphers(raw_, identity.ciphers))
		return false;
	if (!identity.certificate.empty() && !(use_chain(raw_, identity.certificate) && use_key(raw_, identity.key)))
		return false;
	has_roots_ = !identity.roots.empty();
	if (has_roots_)
		SSL_CTX_set_verify(raw_, MIRRORD_SSL_VERIFY_PEER | (is_server_ ? MIRRORD_SSL_VERIFY_MUST : 0), nullptr);
	return !has_roots_ || use_roots(raw_, identity.roots, is_server_);
}

TlsContext::~TlsContext()
{
	for (const auto &named : sessions_)
		SSL_SESSION_free(named.second.session);
	SSL_CTX_free(raw_);
}

const struct tls_session *TlsContext::session_of(const std::string &name) const
{
	auto found = sessions_.find(name);

	if (found == sessions_.end() || now_ms() - found->second.begun_ms > SESSION_MS)
		return nullptr;
	return SSL_SESSION_is_resumable(found->second.session) == 1 ? &found->second : nullptr;
}

void TlsContext::keep(const std::string &name, struct ssl_session_st *session, bool asked, const struct tls_session *before)
{
	auto found = sessions_.find(name);

	if (found == sessions_.end() && sessions_.size() >= MAX_SESSIONS)
		found = sessions_.begin();
	if (found != sessions_.end()) {
		SSL_SESSION_free(found->second.session);
		sessions_.erase(found);
	}
	if (before == nullptr)
		sessions_[name] = {session, asked, now_ms()};
	else
		sessions_[name] = {session, before->asked, before->begun_ms};
}
