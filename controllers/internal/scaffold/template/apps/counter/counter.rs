// SPDX-License-Identifier: Apache-2.0
//
// Counts, publishes the count as a metric, and says so in the log now and then. It stays in `run` for good and
// sleeps in between: the other way to write an app, beside callbacks.
//
// Config: `step` is added each time, `interval` is in milliseconds.
#![no_std]

mod wasmbed {
    #![allow(dead_code)]
    include!("../include/wasmbed.rs");
}

const LOG_EVERY: u32 = 10;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    core::arch::wasm32::unreachable()
}

/// Reads a whole number from the config.
fn config(key: &str, default: i32) -> i32 {
    let mut text = [0u8; 10];
    let n = unsafe {
        wasmbed::wasmbed_config_get(key.as_ptr(), key.len() as i32, text.as_mut_ptr(), text.len() as i32)
    };
    if n <= 0 {
        return default;
    }
    let mut value: i32 = 0;
    for &digit in text.iter().take(n as usize) {
        if !(b'0'..=b'9').contains(&digit) {
            return default;
        }
        value = value.wrapping_mul(10).wrapping_add((digit - b'0') as i32);
    }
    value
}

fn log(text: &str) {
    unsafe { wasmbed::wasmbed_log(wasmbed::LOG_INFO, text.as_ptr(), text.len() as i32) };
}

#[no_mangle]
pub extern "C" fn run() -> i32 {
    let step = config("step", 1);
    let interval = config("interval", 1000);
    let name = "count";
    let mut count: i32 = 0;
    let mut rounds: u32 = 0;
    log("counter started");
    loop {
        if unsafe { wasmbed::ocre_sleep(interval) } != wasmbed::OK {
            return 1;
        }
        count = count.wrapping_add(step);
        rounds = rounds.wrapping_add(1);
        unsafe { wasmbed::wasmbed_metric_set(name.as_ptr(), name.len() as i32, count) };
        if rounds % LOG_EVERY == 0 {
            log("ten more");
        }
    }
}
