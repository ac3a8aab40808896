// SPDX-License-Identifier: Apache-2.0
//
// The byte stream of port.h over lwIP (without an operating system) and the Ethernet
// driver. One netif with DHCP, one TCP connection at a time.
#include <string.h>

#include "lwip/dhcp.h"
#include "lwip/dns.h"
#include "lwip/etharp.h"
#include "lwip/init.h"
#include "lwip/netif.h"
#include "lwip/tcp.h"
#include "lwip/timeouts.h"
#include "mps2.h"
#include "netif/ethernet.h"
#include "port.h"

#define FRAME_CAP 1536u
#define BACKLOG_US 5000u
#define PROVISION_MAC 6 // offset of the hardware address in the blob

static struct netif netif;
static bool started;

static struct {
	struct tcp_pcb *pcb;
	struct pbuf *in;   // received, not yet read
	size_t in_offset;  // bytes of the first pbuf that were read
	int state;         // as port_stream_state
	bool peer_closed;
	uint16_t port;
	uint32_t attempt;  // tells a late DNS answer from the current one
} stream = {.state = PORT_ECLOSED};

u32_t sys_now(void)
{
	return (u32_t)(port_now_us() / 1000);
}

// ---------------------------------------------------------------- netif

static err_t link_output(struct netif *n, struct pbuf *p)
{
	static uint8_t frame[FRAME_CAP];
	(void)n;
	if (p->tot_len > sizeof frame) {
		return ERR_BUF;
	}
	pbuf_copy_partial(p, frame, p->tot_len, 0);
	return eth_send(frame, p->tot_len) == PORT_OK ? ERR_OK : ERR_BUF;
}

static err_t netif_setup(struct netif *n)
{
	n->name[0] = 'e';
	n->name[1] = 'n';
	n->mtu = 1500;
	n->hwaddr_len = 6;
	n->flags = NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_LINK_UP;
	n->output = etharp_output;
	n->linkoutput = link_output;
	return ERR_OK;
}

// For port numbers, sequence numbers and identifiers; keys come from the agent's own
// generator. splitmix64 over the launch's seed.
uint32_t net_random(void)
{
	static uint64_t state;
	if (state == 0) {
		uint8_t noise[32];
		size_t len = 0;
		const uint8_t *blob = port_provision(&len);
		port_noise(noise);
		state = 14695981039346656037u;
		for (size_t i = 0; i < len + sizeof noise; i++) {
			state = (state ^ (i < len ? blob[i] : noise[i - len])) * 1099511628211u;
		}
	}
	uint64_t z = (state += 0x9E3779B97F4A7C15u);
	z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
	z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
	return (uint32_t)(z >> 32);
}

void net_start(void)
{
	static const uint8_t unprovisioned[6] = {0x02, 0x57, 0x42, 0, 0, 1};
	size_t len = 0;
	const uint8_t *blob = port_provision(&len);
	const uint8_t *mac = blob == NULL ? unprovisioned : blob + PROVISION_MAC;
	if (eth_start(mac) != PORT_OK) {
		return;
	}
	lwip_init();
	netif_add(&netif, NULL, NULL, NULL, NULL, netif_setup, ethernet_input);
	memcpy(netif.hwaddr, mac, 6);
	netif_set_default(&netif);
	netif_set_up(&netif);
	dhcp_start(&netif);
	started = true;
}

uint64_t net_poll(void)
{
	if (!started) {
		return UINT64_MAX;
	}
	bool backlog = false;
	eth_clear();
	for (;;) {
		struct pbuf *p = pbuf_alloc(PBUF_RAW, FRAME_CAP, PBUF_POOL);
		if (p == NULL) {
			backlog = true;
			break;
		}
		int n = eth_receive(p->payload, FRAME_CAP);
		if (n <= 0) {
			pbuf_free(p);
			break;
		}
		pbuf_realloc(p, (u16_t)n);
		if (netif.input(p, &netif) != ERR_OK) {
			pbuf_free(p);
		}
	}
	eth_arm();
	sys_check_timeouts();
	uint64_t now = port_now_us();
	u32_t sleep = sys_timeouts_sleeptime();
	uint64_t next = sleep == SYS_TIMEOUTS_SLEEPTIME_INFINITE ? UINT64_MAX : now + (uint64_t)sleep * 1000;
	return backlog && next > now + BACKLOG_US ? now + BACKLOG_US : next;
}

bool port_net_up(void)
{
	return started && netif_is_up(&netif) && !ip4_addr_isany_val(*netif_ip4_addr(&netif));
}

// ---------------------------------------------------------------- stream

static void detach(void)
{
	if (stream.pcb != NULL) {
		tcp_arg(stream.pcb, NULL);
		tcp_recv(stream.pcb, NULL);
		tcp_err(stream.pcb, NULL);
	}
}

void port_stream_close(void)
{
	struct tcp_pcb *pcb = stream.pcb;
	detach();
	stream.pcb = NULL;
	if (pcb != NULL && tcp_close(pcb) != ERR_OK) {
		tcp_abort(pcb);
	}
	if (stream.in != NULL) {
		pbuf_free(stream.in);
		stream.in = NULL;
	}
	stream.state = PORT_ECLOSED;
	stream.attempt++;
}

static err_t on_receive(void *arg, struct tcp_pcb *pcb, struct pbuf *p, err_t err)
{
	(void)arg;
	(void)pcb;
	(void)err;
	if (p == NULL) {
		stream.peer_closed = true;
		return ERR_OK;
	}
	if (stream.in == NULL) {
		stream.in = p;
		stream.in_offset = 0;
	} else {
		pbuf_cat(stream.in, p);
	}
	return ERR_OK;
}

static void on_error(void *arg, err_t err)
{
	(void)arg;
	stream.pcb = NULL; // lwIP has freed it
	stream.state = stream.state == PORT_EAGAIN && err != ERR_RST ? PORT_EHOST : PORT_ECLOSED;
}

static err_t on_connected(void *arg, struct tcp_pcb *pcb, err_t err)
{
	(void)arg;
	(void)pcb;
	(void)err;
	stream.state = PORT_OK;
	return ERR_OK;
}

static int dial(const ip_addr_t *address)
{
	stream.pcb = tcp_new();
	if (stream.pcb == NULL) {
		return stream.state = PORT_EIO;
	}
	tcp_recv(stream.pcb, on_receive);
	tcp_err(stream.pcb, on_error);
	tcp_nagle_disable(stream.pcb);
	stream.state = PORT_EAGAIN;
	if (tcp_connect(stream.pcb, address, stream.port, on_connected) != ERR_OK) {
		port_stream_close();
		return stream.state = PORT_EIO;
	}
	return PORT_OK;
}

static void on_resolved(const char *name, const ip_addr_t *address, void *arg)
{
	(void)name;
	if ((uintptr_t)arg != stream.attempt || stream.state != PORT_EAGAIN) {
		return;
	}
	if (address == NULL) {
		stream.state = PORT_EHOST;
		return;
	}
	dial(address);
}

int port_stream_open(const char *host, uint16_t port)
{
	ip_addr_t address;
	port_stream_close();
	if (!port_net_up()) {
		return stream.state = PORT_EDOWN;
	}
	stream.port = port;
	stream.peer_closed = false;
	stream.state = PORT_EAGAIN;
	switch (dns_gethostbyname(host, &address, on_resolved, (void *)(uintptr_t)stream.attempt)) {
	case ERR_OK:
		return dial(&address);
	case ERR_INPROGRESS:
		return PORT_OK;
	default:
		return stream.state = PORT_EHOST;
	}
}

int port_stream_state(void)
{
	return stream.state;
}

int port_stream_read(void *buf, size_t len)
{
	if (stream.in == NULL) {
		return stream.peer_closed || stream.pcb == NULL ? PORT_ECLOSED : PORT_EAGAIN;
	}
	size_t have = stream.in->len - stream.in_offset;
	size_t n = len < have ? len : have;
	memcpy(buf, (uint8_t *)stream.in->payload + stream.in_offset, n);
	stream.in_offset += n;
	if (stream.in_offset == stream.in->len) {
		struct pbuf *rest = stream.in->next;
		if (rest != NULL) {
			pbuf_ref(rest);
		}
		pbuf_free(stream.in);
		stream.in = rest;
		stream.in_offset = 0;
	}
	if (stream.pcb != NULL) {
		tcp_recved(stream.pcb, (u16_t)n);
	}
	return (int)n;
}

int port_stream_write(const void *buf, size_t len)
{
	if (stream.pcb == NULL || stream.state != PORT_OK) {
		return PORT_ECLOSED;
	}
	size_t room = tcp_sndbuf(stream.pcb);
	size_t n = len < room ? len : room;
	if (n == 0 || tcp_write(stream.pcb, buf, (u16_t)n, TCP_WRITE_FLAG_COPY) != ERR_OK) {
		return PORT_EAGAIN;
	}
	tcp_output(stream.pcb);
	return (int)n;
}
