// SPDX-License-Identifier: Apache-2.0
#include "tls.h"

#include <string.h>
#include <time.h>

#include "mbedtls/memory_buffer_alloc.h"
#include "mbedtls/platform.h"
#include "mbedtls/platform_time.h"
#include "mbedtls/sha256.h"
#include "mbedtls/ssl.h"
#include "port.h"
#include "psa/crypto.h"

#define HEAP_SIZE (22u * 1024u)

static uint8_t heap[HEAP_SIZE] __attribute__((aligned(8)));

static struct {
	mbedtls_ssl_config config;
	mbedtls_ssl_context ssl;
	mbedtls_ssl_session session;
	mbedtls_x509_crt own, ca;
	mbedtls_pk_context key;
	char server_name[PROVISION_HOST_MAX];
	uint8_t seed[32];
	uint32_t drawn;
	uint64_t wall_offset_ms; // wall time minus uptime
	int detail;
	bool have_session, open, resumed;
} tls;

// ---------------------------------------------------------------- time

void tls_set_time(uint64_t wall_ms)
{
	tls.wall_offset_ms = wall_ms - port_now_us() / 1000;
}

uint64_t tls_time_ms(void)
{
	return tls.wall_offset_ms + port_now_us() / 1000;
}

long long tls_wall_seconds(long long *out)
{
	long long t = (long long)(tls_time_ms() / 1000);
	if (out != NULL) {
		*out = t;
	}
	return t;
}

mbedtls_ms_time_t mbedtls_ms_time(void)
{
	return (mbedtls_ms_time_t)tls_time_ms();
}

struct tm *mbedtls_platform_gmtime_r(const mbedtls_time_t *t, struct tm *out)
{
	time_t seconds = (time_t)*t;
	return gmtime_r(&seconds, out);
}

// ---------------------------------------------------------------- randomness

// Each draw hashes the launch's seed with a counter and the board's noise, so no output
// repeats; the boot counter is part of the seed (tls_start).
int mbedtls_hardware_poll(void *data, unsigned char *out, size_t len, size_t *out_len)
{
	struct {
		uint8_t seed[32], noise[32];
		uint32_t drawn;
		uint64_t now;
	} in;
	uint8_t digest[32];
	(void)data;
	memset(&in, 0, sizeof in);
	memcpy(in.seed, tls.seed, sizeof in.seed);
	port_noise(in.noise);
	in.drawn = tls.drawn++;
	in.now = port_now_us();
	if (mbedtls_sha256((const unsigned char *)&in, sizeof in, digest, 0) != 0) {
		return MBEDTLS_ERR_SSL_HW_ACCEL_FAILED;
	}
	*out_len = len < sizeof digest ? len : sizeof digest;
	memcpy(out, digest, *out_len);
	return 0;
}

// Mixes the blob's entropy into the seed.
static int stir(const struct provision *p, uint32_t salt)
{
	mbedtls_sha256_context sha;
	mbedtls_sha256_init(&sha);
	int rc = mbedtls_sha256_starts(&sha, 0);
	rc |= mbedtls_sha256_update(&sha, tls.seed, sizeof tls.seed);
	rc |= mbedtls_sha256_update(&sha, p->seed.data, p->seed.len);
	rc |= mbedtls_sha256_update(&sha, (const uint8_t *)&salt, sizeof salt);
	rc |= mbedtls_sha256_finish(&sha, tls.seed);
	mbedtls_sha256_free(&sha);
	return rc == 0 ? TLS_OK : TLS_EFAIL;
}

int tls_random(void *buf, size_t len)
{
	return psa_generate_random(buf, len) == PSA_SUCCESS ? TLS_OK : TLS_EFAIL;
}

static int random_for_library(void *ctx, unsigned char *out, size_t len)
{
	(void)ctx;
	return tls_random(out, len);
}

// ---------------------------------------------------------------- set-up

static int load_certificates(mbedtls_x509_crt *chain, const struct span *list, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		int rc = mbedtls_x509_crt_parse_der_nocopy(chain, list[i].data, list[i].len);
		if (rc != 0) {
			tls.detail = rc;
			return TLS_EINVAL;
		}
	}
	return TLS_OK;
}

// Called for each certificate of the gateway's chain: a handshake that resumes has none.
static int on_certificate(void *ctx, mbedtls_x509_crt *crt, int depth, uint32_t *flags)
{
	(void)ctx;
	(void)crt;
	(void)depth;
	(void)flags;
	tls.resumed = false;
	return 0;
}

static int configure(void)
{
	static const int suites[] = {MBEDTLS_TLS1_3_AES_128_GCM_SHA256, 0};
	static const uint16_t groups[] = {MBEDTLS_SSL_IANA_TLS_GROUP_SECP256R1, 0};
	int rc = mbedtls_ssl_config_defaults(&tls.config, MBEDTLS_SSL_IS_CLIENT, MBEDTLS_SSL_TRANSPORT_STREAM,
	                                     MBEDTLS_SSL_PRESET_DEFAULT);
	if (rc != 0) {
		tls.detail = rc;
		return TLS_EINVAL;
	}
	mbedtls_ssl_conf_rng(&tls.config, random_for_library, NULL);
	mbedtls_ssl_conf_min_tls_version(&tls.config, MBEDTLS_SSL_VERSION_TLS1_3);
	mbedtls_ssl_conf_max_tls_version(&tls.config, MBEDTLS_SSL_VERSION_TLS1_3);
	mbedtls_ssl_conf_ciphersuites(&tls.config, suites);
	mbedtls_ssl_conf_groups(&tls.config, groups);
	mbedtls_ssl_conf_authmode(&tls.config, MBEDTLS_SSL_VERIFY_REQUIRED);
	mbedtls_ssl_conf_verify(&tls.config, on_certificate, NULL);
	mbedtls_ssl_conf_ca_chain(&tls.config, &tls.ca, NULL);
	mbedtls_ssl_conf_tls13_key_exchange_modes(&tls.config, MBEDTLS_SSL_TLS1_3_KEY_EXCHANGE_MODE_EPHEMERAL |
	                                                           MBEDTLS_SSL_TLS1_3_KEY_EXCHANGE_MODE_PSK_EPHEMERAL);
	mbedtls_ssl_conf_tls13_enable_signal_new_session_tickets(
	    &tls.config, MBEDTLS_SSL_TLS1_3_SIGNAL_NEW_SESSION_TICKETS_ENABLED);
	rc = mbedtls_ssl_conf_own_cert(&tls.config, &tls.own, &tls.key);
	tls.detail = rc;
	return rc == 0 ? TLS_OK : TLS_EINVAL;
}

int tls_start(const struct provision *p, uint32_t salt)
{
	mbedtls_memory_buffer_alloc_init(heap, sizeof heap);
	tls_set_time(p->time_ms);
	mbedtls_ssl_config_init(&tls.config);
	mbedtls_x509_crt_init(&tls.own);
	mbedtls_x509_crt_init(&tls.ca);
	mbedtls_pk_init(&tls.key);
	mbedtls_ssl_session_init(&tls.session);
	return stir(p, salt) == TLS_OK && psa_crypto_init() == PSA_SUCCESS ? TLS_OK : TLS_EFAIL;
}

void tls_unload(void)
{
	tls_close();
	tls_forget();
	mbedtls_ssl_config_free(&tls.config);
	mbedtls_x509_crt_free(&tls.own);
	mbedtls_x509_crt_free(&tls.ca);
	mbedtls_pk_free(&tls.key);
	mbedtls_ssl_config_init(&tls.config);
	mbedtls_x509_crt_init(&tls.own);
	mbedtls_x509_crt_init(&tls.ca);
	mbedtls_pk_init(&tls.key);
}

int tls_load(const struct provision *p)
{
	tls_unload();
	memset(tls.server_name, 0, sizeof tls.server_name);
	memcpy(tls.server_name, p->server_name.data, p->server_name.len);
	if (p->time_ms > tls_time_ms()) {
		tls_set_time(p->time_ms);
	}
	int rc = stir(p, p->sequence);
	if (rc == TLS_OK) {
		rc = load_certificates(&tls.own, p->certificates, p->certificate_count);
	}
	if (rc == TLS_OK) {
		rc = load_certificates(&tls.ca, p->ca, p->ca_count);
	}
	if (rc != TLS_OK) {
		return rc;
	}
	tls.detail = mbedtls_pk_parse_key(&tls.key, p->key.data, p->key.len, NULL, 0, random_for_library, NULL);
	return tls.detail == 0 ? configure() : TLS_EINVAL;
}

// ---------------------------------------------------------------- connection

static int stream_send(void *ctx, const unsigned char *buf, size_t len)
{
	(void)ctx;
	int n = port_stream_write(buf, len);
	return n > 0 ? n : n == PORT_EAGAIN ? MBEDTLS_ERR_SSL_WANT_WRITE : MBEDTLS_ERR_SSL_CONN_EOF;
}

static int stream_receive(void *ctx, unsigned char *buf, size_t len)
{
	(void)ctx;
	int n = port_stream_read(buf, len);
	return n > 0 ? n : n == PORT_EAGAIN ? MBEDTLS_ERR_SSL_WANT_READ : MBEDTLS_ERR_SSL_CONN_EOF;
}

static int result(int rc)
{
	switch (rc) {
	case MBEDTLS_ERR_SSL_WANT_READ:
	case MBEDTLS_ERR_SSL_WANT_WRITE:
		return TLS_EAGAIN;
	case MBEDTLS_ERR_SSL_CONN_EOF:
	case MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY:
	case 0:
		return TLS_ECLOSED;
	case MBEDTLS_ERR_X509_CERT_VERIFY_FAILED:
		tls.detail = (int)mbedtls_ssl_get_verify_result(&tls.ssl);
		return TLS_EPEER;
	default:
		tls.detail = rc;
		return TLS_EFAIL;
	}
}

int tls_open(void)
{
	tls_close();
	mbedtls_ssl_init(&tls.ssl);
	tls.open = true;
	tls.resumed = true;
	tls.detail = 0;
	int rc = mbedtls_ssl_setup(&tls.ssl, &tls.config);
	if (rc == 0) {
		rc = mbedtls_ssl_set_hostname(&tls.ssl, tls.server_name);
	}
	if (rc != 0) {
		tls.detail = rc;
		tls_close();
		return TLS_EFAIL;
	}
	if (tls.have_session && mbedtls_ssl_set_session(&tls.ssl, &tls.session) != 0) {
		tls_forget();
	}
	mbedtls_ssl_set_bio(&tls.ssl, NULL, stream_send, stream_receive, NULL);
	return TLS_OK;
}

int tls_handshake(void)
{
	while (!mbedtls_ssl_is_handshake_over(&tls.ssl)) {
		int rc = mbedtls_ssl_handshake_step(&tls.ssl);
		port_watchdog_feed();
		if (rc != 0) {
			return result(rc);
		}
	}
	return TLS_OK;
}

// A ticket is an event between two reads, not data.
static void keep_session(void)
{
	tls_forget();
	tls.have_session = mbedtls_ssl_get_session(&tls.ssl, &tls.session) == 0;
}

int tls_read(void *buf, size_t len)
{
	for (;;) {
		int rc = mbedtls_ssl_read(&tls.ssl, buf, len);
		if (rc == MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET) {
			keep_session();
			continue;
		}
		return rc > 0 ? rc : result(rc);
	}
}

int tls_write(const void *buf, size_t len)
{
	int rc = mbedtls_ssl_write(&tls.ssl, buf, len);
	return rc > 0 ? rc : result(rc);
}

void tls_close(void)
{
	if (tls.open) {
		if (mbedtls_ssl_is_handshake_over(&tls.ssl)) {
			mbedtls_ssl_close_notify(&tls.ssl);
		}
		mbedtls_ssl_free(&tls.ssl);
		tls.open = false;
	}
}

void tls_forget(void)
{
	mbedtls_ssl_session_free(&tls.session);
	mbedtls_ssl_session_init(&tls.session);
	tls.have_session = false;
}

int tls_resumed(void)
{
	return tls.resumed;
}

void digest_of(const void *data, size_t len, uint8_t out[32])
{
	if (mbedtls_sha256(data, len, out, 0) != 0) {
		memset(out, 0, 32);
	}
}

int tls_detail(void)
{
	return tls.detail;
}

void tls_heap(size_t *used, size_t *high_water, size_t *size)
{
	size_t blocks;
	mbedtls_memory_buffer_alloc_cur_get(used, &blocks);
	mbedtls_memory_buffer_alloc_max_get(high_water, &blocks);
	*size = HEAP_SIZE;
}
