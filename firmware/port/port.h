// SPDX-License-Identifier: Apache-2.0
//
// port.h: everything that the agent may ask of a board.
//
// The agent, the codec and the runtime never touch hardware: a board is a folder that
// implements these functions. All of them are called from the one main loop unless their
// comment says otherwise, none of them blocks unless it says so, and none allocates.
// Where a function returns int, 0 or more is success and a negative value is one of
// enum port_error; no other negative value is ever returned.
#ifndef PORT_H
#define PORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum port_error {
	PORT_OK = 0,
	PORT_EAGAIN = -1,   // nothing to read or no room to write now: call again later
	PORT_ECLOSED = -2,  // the peer closed or reset the stream, or it was never open
	PORT_EINVAL = -3,   // an argument is out of range for this board
	PORT_EIO = -4,      // the hardware answered with an error or not at all
	PORT_ENOTSUP = -5,  // this board does not have it
	PORT_EHOST = -6,    // the peer cannot be reached or its name cannot be resolved
	PORT_EFAULT = -7,   // sandboxed code faulted and was stopped
	PORT_EDOWN = -8,    // the link is down or has no address yet
};

// What the board is. The strings live for ever.
struct port_info {
	const char *board;    // name in the board catalogue, for example "mps2-an385"
	const char *core;     // for example "cortex-m3"
	uint32_t flash_bytes; // program memory of the board
	uint32_t ram_bytes;   // data memory of the board
	uint32_t flash_used;  // text, constants and initial values of this image
	uint32_t ram_static;  // .data and .bss of this image, stack and app memory apart
	uint32_t frame_max;   // largest protocol frame, header included, that it takes
};

const struct port_info *port_info(void);

// Starts clocks, console, network, non-volatile memory and the MPU. Called once, first.
void port_start(void);

// ---------------------------------------------------------------- time and sleep

// Microseconds since the start of this image. Never goes back, never wraps.
uint64_t port_now_us(void);

// Lets the board's own machinery (network stack, console) run. Returns the time in
// microseconds at which it wants to run again at the latest.
uint64_t port_poll(void);

// Sleeps until an interrupt leaves work for port_poll or until the given time,
// whichever is first. Returns at once when there is work already.
void port_sleep_until(uint64_t us);

// Microseconds spent asleep since the start.
uint64_t port_slept_us(void);

// ---------------------------------------------------------------- console

// Queues text for the console; what does not fit is dropped, never waited for.
void port_console_write(const char *text, size_t len);

// Takes up to cap bytes typed at the console; returns how many, 0 if none.
size_t port_console_read(char *buf, size_t cap);

// ---------------------------------------------------------------- network

// True once the board has a link and an address.
bool port_net_up(void);

// Starts a byte stream to host (a dotted IPv4 address or a name) and port; one stream
// exists at a time and an open one is reset first. PORT_OK means "under way": see
// port_stream_state. PORT_EDOWN, PORT_EINVAL and PORT_EHOST can come at once.
int port_stream_open(const char *host, uint16_t port);

// PORT_OK when open, PORT_EAGAIN while it is being opened, else why it failed.
int port_stream_state(void);

// Moves up to len bytes; returns how many (at least one), PORT_EAGAIN or PORT_ECLOSED.
// Bytes that came before the peer closed are still delivered.
int port_stream_read(void *buf, size_t len);
int port_stream_write(const void *buf, size_t len);

// Ends the stream; harmless when none is open.
void port_stream_close(void);

// ---------------------------------------------------------------- memory that stays

// Memory that keeps its content without power. It is mapped: it is read through `map`.
// Written bytes become visible there at once. Erased bytes read 0xff.
struct port_nv {
	const uint8_t *map;
	uint32_t size;        // bytes, a multiple of erase_size
	uint32_t erase_size;  // bytes of the smallest block that can be erased
	uint32_t write_size;  // offset and length of each write are multiples of it
};

const struct port_nv *port_nv(void);

// Erases or writes; returns PORT_OK, PORT_EINVAL or PORT_EIO. A range must be erased
// before it is written. Power may fail in the middle: any prefix may be done then.
int port_nv_erase(uint32_t offset, uint32_t len);
int port_nv_write(uint32_t offset, const void *data, uint32_t len);

// The provisioning blob, or NULL when there is none; *len is its length in bytes.
const uint8_t *port_provision(size_t *len);

// Mapped memory in which whoever runs the board leaves a newer blob at any time, as
// provision.h lays it out; NULL when the board has none. Apps cannot read it. *size is
// its bytes.
const volatile uint8_t *port_mailbox(uint32_t *size);

// ---------------------------------------------------------------- randomness

// Mixes what the board knows that nobody else does (timer jitter, a hardware generator
// if there is one) into 32 bytes; returns the bits of entropy that it vouches for.
int port_noise(uint8_t out[32]);

// ---------------------------------------------------------------- faults and resets

enum port_reset {
	PORT_RESET_POWER = 0,     // power on, or the cause is unknown
	PORT_RESET_REQUEST = 1,   // port_reset was called
	PORT_RESET_WATCHDOG = 2,  // the loop was not fed in time
	PORT_RESET_FAULT = 3,     // a fault handler
	PORT_RESET_ASSERT = 4,    // port_panic was called
};

// What is kept across a reset, without power it is lost.
struct port_crash {
	uint32_t cause;           // enum port_reset
	uint32_t pc, lr, sp, psr; // of the interrupted code, 0 when unknown
	uint32_t fault_status;    // CFSR on Cortex-M
	uint32_t fault_address;   // valid when fault_status says so, else 0
	uint32_t uptime_ms;
	uint32_t tag;             // last value of port_crash_tag before the reset
	char text[48];            // why, zero terminated
};

// The crash that led to this start; NULL when it was a power-on or a requested reset.
const struct port_crash *port_last_crash(void);

// Names what runs now (the agent sets the app); kept in the crash record.
void port_crash_tag(uint32_t tag);

// Says that the main loop is alive. The watchdog resets the board when this was not
// called for PORT_WATCHDOG_MS milliseconds. Much longer than any step of the loop, because
// an emulated board's clock goes on while a busy host gives it no time.
#define PORT_WATCHDOG_MS 16000u
void port_watchdog_feed(void);

_Noreturn void port_reset(void);
_Noreturn void port_panic(const char *why);

// Bytes of the main stack: its size and the most that was ever used.
uint32_t port_stack_size(void);
uint32_t port_stack_high_water(void);

// ---------------------------------------------------------------- sandbox

// Memory for apps, cut into equal blocks; an app gets neighbouring blocks and the
// sandbox opens exactly these.
struct port_arena {
	uint8_t *base;
	uint32_t block_size; // bytes
	uint32_t blocks;
};

const struct port_arena *port_arena(void);

// Runs fn(arg) with the least rights that the hardware can enforce: it may read program
// memory and non-volatile memory, and read and write only the given blocks of the arena
// and the stack. Returns PORT_OK, or PORT_EFAULT after a fault (port_sandbox_fault says
// what it was), PORT_EINVAL for a range outside the arena. Not reentrant.
int port_sandbox_run(void (*fn)(void *), void *arg, const void *arena, uint32_t len);

// Inside fn: host functions lift the restriction for their own work. Outside they do
// nothing.
void port_sandbox_leave(void);
void port_sandbox_enter(void);

const struct port_crash *port_sandbox_fault(void);

// ---------------------------------------------------------------- pins and sensors

enum port_direction { PORT_IN = 0, PORT_OUT = 1 };

// Port 0 holds what the board shows, LEDs on most; heartbeats and logs tell of its first pins.
enum { PORT_LEDS = 0, PORT_LEDS_TOLD = 16 };

// Pins are numbered per port. PORT_EINVAL when there is no such pin; port_gpio_get
// returns the level, 0 or 1; port_gpio_configure refuses a direction with PORT_ENOTSUP.
int port_gpio_configure(uint32_t port, uint32_t pin, enum port_direction dir);
int port_gpio_set(uint32_t port, uint32_t pin, int level);
int port_gpio_get(uint32_t port, uint32_t pin);

// The name of a pin ("led0"), or the pin of a name: 0 and *port, *pin, or PORT_EINVAL.
int port_gpio_named(const char *name, size_t len, uint32_t *port, uint32_t *pin);

// The board's sensors: number of them, and one measured value in thousandths of the
// channel's unit (temperature: thousandths of a degree Celsius). PORT_EIO when the
// sensor does not answer.
int port_sensor_count(void);
int port_sensor_read(uint32_t sensor, uint32_t channel, int32_t *milli);

#endif
