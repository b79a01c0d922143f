/*
 * What is used here of OpenSSL, which is in Node and which Node exports to addons. Its headers are in no npm package and not in
 * every installation; these functions and numbers are part of its stable interface (3.0 and later of 3.x), so they are declared by hand.
 */
#ifndef MIRRORD_STEALER_OPENSSL_H
#define MIRRORD_STEALER_OPENSSL_H

#include <cstddef>
#include <cstdint>

extern "C" {
struct bio_st;
struct bio_method_st;
struct ssl_st;
struct ssl_ctx_st;
struct ssl_method_st;
struct ssl_session_st;
struct evp_pkey_st;
struct x509_st;
struct X509_name_st;
struct x509_store_st;
struct x509_store_ctx_st;

int BIO_get_new_index(void);
struct bio_method_st *BIO_meth_new(int type, const char *name);
int BIO_meth_set_write(struct bio_method_st *method, int (*write)(struct bio_st *, const char *, int));
int BIO_meth_set_read(struct bio_method_st *method, int (*read)(struct bio_st *, char *, int));
int BIO_meth_set_ctrl(struct bio_method_st *method, long (*control)(struct bio_st *, int, long, void *));
struct bio_st *BIO_new(const struct bio_method_st *method);
struct bio_st *BIO_new_mem_buf(const void *bytes, int size);
int BIO_free(struct bio_st *bio);
void BIO_set_data(struct bio_st *bio, void *data);
void *BIO_get_data(struct bio_st *bio);
void BIO_set_init(struct bio_st *bio, int init);
void BIO_set_flags(struct bio_st *bio, int flags);
void BIO_clear_flags(struct bio_st *bio, int flags);

struct x509_st *PEM_read_bio_X509(struct bio_st *bio, struct x509_st **into, int (*password)(char *, int, int, void *), void *data);
struct x509_st *PEM_read_bio_X509_AUX(struct bio_st *bio, struct x509_st **into, int (*password)(char *, int, int, void *), void *data);
struct evp_pkey_st *PEM_read_bio_PrivateKey(struct bio_st *bio, struct evp_pkey_st **into, int (*password)(char *, int, int, void *), void *data);
void EVP_PKEY_free(struct evp_pkey_st *key);
void X509_free(struct x509_st *certificate);
int X509_STORE_add_cert(struct x509_store_st *store, struct x509_st *certificate);

unsigned long ERR_get_error(void);
unsigned long ERR_peek_last_error(void);
const char *ERR_reason_error_string(unsigned long error);
void ERR_clear_error(void);

const struct ssl_method_st *TLS_server_method(void);
const struct ssl_method_st *TLS_client_method(void);
struct ssl_ctx_st *SSL_CTX_new(const struct ssl_method_st *method);
void SSL_CTX_free(struct ssl_ctx_st *context);
long SSL_CTX_ctrl(struct ssl_ctx_st *context, int command, long number, void *pointer);
uint64_t SSL_CTX_set_options(struct ssl_ctx_st *context, uint64_t options);
int SSL_CTX_use_certificate(struct ssl_ctx_st *context, struct x509_st *certificate);
int SSL_CTX_use_PrivateKey(struct ssl_ctx_st *context, struct evp_pkey_st *key);
int SSL_CTX_set_cipher_list(struct ssl_ctx_st *context, const char *list);
int SSL_CTX_set_ciphersuites(struct ssl_ctx_st *context, const char *list);
int SSL_CTX_set_session_id_context(struct ssl_ctx_st *context, const unsigned char *bytes, unsigned int size);
int SSL_CTX_add_client_CA(struct ssl_ctx_st *context, struct x509_st *certificate);
struct x509_store_st *SSL_CTX_get_cert_store(const struct ssl_ctx_st *context);
void SSL_CTX_set_verify(struct ssl_ctx_st *context, int mode, int (*verify)(int, struct x509_store_ctx_st *));
void SSL_CTX_set_default_read_buffer_len(struct ssl_ctx_st *context, size_t size);
void SSL_CTX_sess_set_new_cb(struct ssl_ctx_st *context, int (*on_session)(struct ssl_st *, struct ssl_session_st *));
void SSL_CTX_set_alpn_select_cb(struct ssl_ctx_st *context,
                                int (*select)(struct ssl_st *, const unsigned char **, unsigned char *, const unsigned char *, unsigned int, void *),
                                void *data);

struct ssl_st *SSL_new(struct ssl_ctx_st *context);
void SSL_free(struct ssl_st *ssl);
void SSL_set_bio(struct ssl_st *ssl, struct bio_st *read, struct bio_st *write);
void SSL_set_accept_state(struct ssl_st *ssl);
void SSL_set_connect_state(struct ssl_st *ssl);
long SSL_ctrl(struct ssl_st *ssl, int command, long number, void *pointer);
int SSL_set1_host(struct ssl_st *ssl, const char *name);
int SSL_set_alpn_protos(struct ssl_st *ssl, const unsigned char *protocols, unsigned int size);
void SSL_get0_alpn_selected(const struct ssl_st *ssl, const unsigned char **protocol, unsigned int *size);
int SSL_get_shared_sigalgs(struct ssl_st *ssl, int at, int *sign, int *hash, int *both, unsigned char *rsig, unsigned char *rhash);
int SSL_set_ex_data(struct ssl_st *ssl, int at, void *data);
void *SSL_get_ex_data(const struct ssl_st *ssl, int at);
int SSL_do_handshake(struct ssl_st *ssl);
int SSL_read(struct ssl_st *ssl, void *bytes, int size);
int SSL_write(struct ssl_st *ssl, const void *bytes, int size);
int SSL_shutdown(struct ssl_st *ssl);
void SSL_set_shutdown(struct ssl_st *ssl, int mode);
int SSL_get_error(const struct ssl_st *ssl, int result);
int SSL_session_reused(const struct ssl_st *ssl);
int SSL_set_session(struct ssl_st *ssl, struct ssl_session_st *session);
int SSL_SESSION_is_resumable(const struct ssl_session_st *session);
struct ssl_session_st *SSL_SESSION_dup(const struct ssl_session_st *session);
void SSL_SESSION_free(struct ssl_session_st *session);
}

/* bio.h */
static constexpr int MIRRORD_BIO_SOURCE_SINK = 0x0400;
static constexpr int MIRRORD_BIO_READ = 0x01;
static constexpr int MIRRORD_BIO_RETRY = 0x08;
static constexpr int MIRRORD_BIO_CTRL_FLUSH = 11;
/* ssl.h, tls1.h */
static constexpr int MIRRORD_SSL_MODE = 33;
static constexpr int MIRRORD_SSL_READ_AHEAD = 41;
static constexpr int MIRRORD_SSL_SESSION_CACHE = 44;
static constexpr int MIRRORD_SSL_HOST_NAME = 55;
static constexpr int MIRRORD_SSL_ADD_CHAIN = 89;
static constexpr int MIRRORD_SSL_LEAST_VERSION = 123;
static constexpr long MIRRORD_TLS_1_2 = 0x0303;
static constexpr long MIRRORD_SSL_RELEASE_BUFFERS = 0x10;
static constexpr long MIRRORD_SSL_CACHE_OFF = 0;
/* Of clients, told and not kept. */
static constexpr long MIRRORD_SSL_CACHE_TOLD = 0x0001 | 0x0300;
static constexpr uint64_t MIRRORD_SSL_NO_RENEGOTIATION = 1ULL << 30;
static constexpr uint64_t MIRRORD_SSL_OWN_CIPHERS_FIRST = 1ULL << 22;
static constexpr int MIRRORD_SSL_ENDED_BOTH = 3;
static constexpr int MIRRORD_SSL_WANT_READ = 2;
static constexpr int MIRRORD_SSL_ZERO_RETURN = 6;
static constexpr int MIRRORD_SSL_VERIFY_PEER = 0x01;
static constexpr int MIRRORD_SSL_VERIFY_MUST = 0x02;
static constexpr int MIRRORD_ALPN_OK = 0;
static constexpr int MIRRORD_ALPN_FATAL = 2;
static constexpr int MIRRORD_ALPN_NONE = 3;

#endif
