# SPDX-License-Identifier: Apache-2.0
#
# What is compiled of mbedTLS and lwIP, fetched by tools/fetch-third-party. The lists are
# explicit so that a new upstream file is a decision.

MBEDTLS_SRC := $(addprefix $(TP)/mbedtls/library/,\
	aes.c asn1parse.c asn1write.c bignum.c bignum_core.c block_cipher.c cipher.c cipher_wrap.c \
	constant_time.c ctr_drbg.c ecdh.c ecdsa.c ecp.c ecp_curves.c entropy.c gcm.c hkdf.c md.c \
	memory_buffer_alloc.c oid.c pk.c pk_ecc.c pk_wrap.c pkparse.c platform.c platform_util.c \
	psa_crypto.c psa_crypto_aead.c psa_crypto_cipher.c psa_crypto_client.c \
	psa_crypto_driver_wrappers_no_static.c psa_crypto_ecp.c psa_crypto_hash.c psa_crypto_mac.c psa_crypto_random.c \
	psa_crypto_slot_management.c psa_util.c sha256.c ssl_ciphersuites.c ssl_client.c ssl_msg.c \
	ssl_tls.c ssl_tls13_client.c ssl_tls13_generic.c ssl_tls13_keys.c x509.c x509_crt.c)

LWIP_SRC := $(addprefix $(TP)/lwip/src/,\
	core/def.c core/dns.c core/inet_chksum.c core/init.c core/ip.c core/mem.c core/memp.c \
	core/netif.c core/pbuf.c core/stats.c core/sys.c core/tcp.c core/tcp_in.c core/tcp_out.c \
	core/timeouts.c core/udp.c core/ipv4/dhcp.c core/ipv4/etharp.c core/ipv4/icmp.c \
	core/ipv4/ip4.c core/ipv4/ip4_addr.c netif/ethernet.c)
