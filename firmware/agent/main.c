// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <string.h>
#include "agent.h"
#include "port.h"
#include "tls.h"
static char line[160];
#define P(...) port_console_write(line, (size_t)snprintf(line, sizeof line, __VA_ARGS__))
static struct provision prov;
static void wait(uint64_t max){ uint64_t next=port_poll(); port_watchdog_feed(); uint64_t m=port_now_us()+max; port_sleep_until(next<m?next:m);}
static void good(void*a){ *(volatile int*)a=7; }
static void bad(void*a){ (void)a; *(volatile int*)&prov=7; }
static void over(void*a){ volatile char b[512]; b[0]=1; if(a) over((void*)b); (void)a;}
int main(void)
{
	port_start();
	P("%s %s %s\r\n", port_info()->board, port_info()->core, agent_version);
	const struct port_crash*c=port_last_crash(); if(c) P("last: %s pc %lx cause %lu\r\n", c->text,(unsigned long)c->pc,(unsigned long)c->cause);
	const struct port_arena*ar=port_arena();
	P("good %d %d\r\n", port_sandbox_run(good, ar->base, ar->base, ar->block_size), *(int*)ar->base);
	P("bad %d pc %lx addr %lx\r\n", port_sandbox_run(bad, ar->base, ar->base, ar->block_size), port_sandbox_fault()->pc, port_sandbox_fault()->fault_address);
	P("good2 %d\r\n", port_sandbox_run(good, ar->base+ar->block_size, ar->base, ar->block_size));
	P("good3 %d\r\n", port_sandbox_run(good, ar->base+ar->block_size, ar->base+ar->block_size, ar->block_size));
	P("over %d %s\r\n", port_sandbox_run(over, ar->base, ar->base, ar->block_size), port_sandbox_fault()->text);
	int32_t t=0; int n=port_sensor_count(); int r=port_sensor_read(0,0,&t);
	P("sensors %d r %d t %ld stack %lu\r\n", n, r, (long)t, (unsigned long)port_stack_high_water());
	size_t len; const uint8_t*b=port_provision(&len);
	if(!b||provision_parse(&prov,b,len)) { P("no blob\r\n"); while(!port_net_up()) wait(1000000); P("net up %lu us slept %lu\r\n",(unsigned long)port_now_us(),(unsigned long)port_slept_us()); }
	else { int rc=tls_start(&prov,1); P("tls_start %d detail %x\r\n", rc, tls_detail()); }
	for(;;) { char k; if(port_console_read(&k,1)) { if(k=='w') for(;;); if(k=='p') port_panic("test"); if(k=='r') port_reset(); if(k=='f') *(volatile int*)0xf0000000=1; P("%c",k);} wait(1000000000ull);}
}
