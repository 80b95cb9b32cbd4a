//! What a TSC tick is worth, and what time it is.
//!
//! Owns: the TSC's frequency, the conversions between TSC ticks and NT's 100 ns units, and the CMOS clock.
//! Called once at start-up (`calibrate`, `read_rtc`), then by the scheduler's timers and the time system
//! calls. It keeps no running clock and never waits without a bound.
//!
//! The frequency comes from CPUID where it says so, else from channel 2 of the 8254, measured as an
//! **interval that certainly contains it**: each reading of the counter is bracketed by two of the TSC,
//! and all pairs of early and late readings are intersected. If the interval contains exactly one whole
//! MHz, that is taken, so that under `qemu -icount shift=0` the answer is 1,000,000,000 every time.
//! Sources: Intel SDM vol. 2 (CPUID 15H, 16H), vol. 3, 18.17; Intel 8254 data sheet; MC146818A data
//! sheet; ACPI 6.5, 5.2.9.

use super::cpu::{self, Features, cpuid, inb, outb, rdtsc};
use core::sync::atomic::{AtomicU64, Ordering};

/// The 8254's input clock in Hz: 14.31818 MHz / 12.
const PIT_FREQUENCY: u64 = 1_193_182;
/// 100 ns units in a second.
const UNITS: u64 = 10_000_000;
/// Below this the conversions' fixed point would not fit; no TSC is that slow.
const SLOWEST: u64 = 50_000_000;
const FASTEST: u64 = 100_000_000_000;
/// Bits after the point of `UNITS_TO_TICKS`.
const SHIFT: u32 = 40;

static FREQUENCY: AtomicU64 = AtomicU64::new(1_000_000_000);
/// 100 ns units per tick, times 2^64, rounded up.
static TICKS_TO_UNITS: AtomicU64 = AtomicU64::new((((UNITS as u128) << 64) / 1_000_000_000) as u64 + 1);
/// Ticks per 100 ns unit, times 2^`SHIFT`, rounded up.
static UNITS_TO_TICKS: AtomicU64 = AtomicU64::new(100 << SHIFT);

/// Where the TSC's frequency came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// CPUID leaf 15H (and 16H for the crystal).
    Cpuid,
    /// The hypervisor's timing leaf 40000010H.
    Hypervisor,
    /// Measured against the 8254.
    Pit,
    /// Nothing answered: 1 GHz assumed.
    Assumed,
}

/// Finds out the TSC's frequency and the local APIC timer's (if `apic::init_boot` has run). On the boot
/// processor, with interrupts off; about 3 ms.
pub fn calibrate() -> Source {
    let plausible = |frequency: &u64| (SLOWEST..=FASTEST).contains(frequency);
    let (frequency, source) = if let Some(frequency) = cpuid_frequency().filter(plausible) {
        (frequency, Source::Cpuid)
    } else if let Some(frequency) = hypervisor_frequency().filter(plausible) {
        (frequency, Source::Hypervisor)
    } else if let Some(frequency) = pit_frequency().filter(plausible) {
        (frequency, Source::Pit)
    } else {
        (1_000_000_000, Source::Assumed)
    };
    let ticks_to_units = (u128::from(UNITS) << 64).div_ceil(u128::from(frequency));
    let units_to_ticks = (u128::from(frequency) << SHIFT).div_ceil(u128::from(UNITS));
    FREQUENCY.store(frequency, Ordering::Relaxed);
    // Both fit in 64 bits between SLOWEST and FASTEST.
    TICKS_TO_UNITS.store(ticks_to_units as u64, Ordering::Relaxed);
    UNITS_TO_TICKS.store(units_to_ticks as u64, Ordering::Relaxed);
    super::apic::calibrate_timer(frequency);
    source
}

/// TSC ticks per second.
pub fn tsc_frequency() -> u64 {
    FREQUENCY.load(Ordering::Relaxed)
}

/// `ticks` in 100 ns units, rounded down (for very large values at most one unit too many). Monotonic.
pub fn ticks_to_100ns(ticks: u64) -> u64 {
    ((u128::from(ticks) * u128::from(TICKS_TO_UNITS.load(Ordering::Relaxed))) >> 64) as u64
}

/// `units` of 100 ns in TSC ticks, rounded up; `u64::MAX` if there are more.
pub fn ns100_to_ticks(units: u64) -> u64 {
    let scaled = u128::from(units) * u128::from(UNITS_TO_TICKS.load(Ordering::Relaxed));
    u64::try_from(scaled.saturating_add((1 << SHIFT) - 1) >> SHIFT).unwrap_or(u64::MAX)
}

fn cpuid_frequency() -> Option<u64> {
    let highest = cpuid(0, 0).eax;
    if highest < 0x15 {
        return None;
    }
    let ratio = cpuid(0x15, 0);
    if ratio.eax == 0 || ratio.ebx == 0 {
        return None;
    }
    if ratio.ecx != 0 {
        return Some(u64::from(ratio.ecx) * u64::from(ratio.ebx) / u64::from(ratio.eax));
    }
    // No crystal given: the TSC runs at the base frequency.
    let base = if highest >= 0x16 { cpuid(0x16, 0).eax & 0xFFFF } else { 0 };
    (base != 0).then_some(u64::from(base) * 1_000_000)
}

fn hypervisor_frequency() -> Option<u64> {
    if !cpu::features().contains(Features::HYPERVISOR) || cpuid(0x4000_0000, 0).eax < 0x4000_0010 {
        return None;
    }
    let khz = cpuid(0x4000_0010, 0).eax;
    (khz != 0).then_some(u64::from(khz) * 1000)
}

/// One reading of the 8254's counter, and the TSC values around the moment it was latched.
#[derive(Clone, Copy, Default)]
struct Reading {
    before: u64,
    after: u64,
    count: u16,
}

/// Readings taken together. So many that under `-icount`, where one takes some 30 ns, they cover a whole
/// tick of the 8254.
const READINGS: usize = 64;

fn latch() -> Reading {
    let before = rdtsc();
    // SAFETY: the 8254's command port; latching a counter reaches no memory.
    unsafe { outb(0x43, 0x80) };
    let after = rdtsc();
    let low = inb(0x42);
    let high = inb(0x42);
    Reading { before, after, count: u16::from_le_bytes([low, high]) }
}

fn pit_frequency() -> Option<u64> {
    // SAFETY: port 0x61 and the 8254's channel 2, which only drives the speaker, here disconnected.
    unsafe {
        outb(0x61, inb(0x61) & !2 | 1);
        outb(0x43, 0xB0);
        outb(0x42, 0xFF);
        outb(0x42, 0xFF);
    }
    // A loaded counter starts with the next tick of its clock.
    latch();
    latch();
    let mut early = [Reading::default(); READINGS];
    early.iter_mut().for_each(|reading| *reading = latch());
    let origin = early[READINGS - 1].count;
    let mut bounds = (0, 0);
    for milliseconds in [1u16, 2, 4, 8, 16, 32] {
        // At 40 ns a poll at the least, ten million are far more than 32 ms.
        (0..10_000_000).find(|_| origin.wrapping_sub(latch().count) >= 1193 * milliseconds)?;
        let mut late = [Reading::default(); READINGS];
        late.iter_mut().for_each(|reading| *reading = latch());
        bounds = intersect(&early, &late)?;
        if bounds.1.saturating_sub(bounds.0) <= bounds.0 / 20_000 {
            break;
        }
    }
    Some(settle(bounds.0, bounds.1))
}

/// The interval that the TSC's frequency must lie in according to all pairs of readings. The counter
/// moves once per tick, so a difference of n means more than n-1 and less than n+1 ticks.
fn intersect(early: &[Reading], late: &[Reading]) -> Option<(u64, u64)> {
    let (mut low, mut high) = (0, u64::MAX);
    for first in early {
        for last in late {
            let ticks = u64::from(first.count.wrapping_sub(last.count));
            if ticks < 2 {
                return None;
            }
            let least = last.before.saturating_sub(first.after);
            let most = last.after.saturating_sub(first.before);
            low = low.max(least.saturating_mul(PIT_FREQUENCY) / (ticks + 1));
            high = high.min(most.saturating_mul(PIT_FREQUENCY) / (ticks - 1) + 1);
        }
    }
    Some((low, high))
}

/// One frequency for a measured interval: its only whole MHz, else its middle.
pub(super) fn settle(low: u64, high: u64) -> u64 {
    const MHZ: u64 = 1_000_000;
    let (low, high) = (low.min(high), low.max(high));
    let candidate = low.div_ceil(MHZ) * MHZ;
    if candidate <= high && candidate + MHZ > high { candidate } else { low + (high - low) / 2 }
}

/// The CMOS clock's registers, raw.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Rtc {
    second: u8,
    minute: u8,
    hour: u8,
    day: u8,
    month: u8,
    year: u8,
    century: u8,
}

fn cmos(index: u8) -> u8 {
    // SAFETY: the CMOS index port; bit 7 clear keeps NMI enabled.
    unsafe { outb(0x70, index) };
    inb(0x71)
}

fn read_clock(century: u8) -> Rtc {
    // Status register A, bit 7: update in progress, for at most 2.3 ms.
    for _ in 0..20_000 {
        if cmos(0x0A) & 0x80 == 0 {
            break;
        }
    }
    Rtc {
        second: cmos(0),
        minute: cmos(2),
        hour: cmos(4),
        day: cmos(7),
        month: cmos(8),
        year: cmos(9),
        century: if century == 0 { 0 } else { cmos(century) },
    }
}

/// The CMOS clock, taken as UTC, in FILETIME's 100 ns units since 1601. An impossible date reads as 1
/// January 2000. To be called when no other processor uses the CMOS ports.
pub fn read_rtc() -> u64 {
    let century = super::acpi::tables().map_or(0, |tables| tables.power.century & 0x7F);
    // An update can begin between the check and the reads, so two readings must agree.
    let mut clock = read_clock(century);
    for _ in 0..10 {
        let again = read_clock(century);
        if again == clock {
            break;
        }
        clock = again;
    }
    decode(clock, cmos(0x0B)).unwrap_or(const { filetime(2000, 1, 1, 0) })
}

/// Registers to FILETIME, by the mode bits of status register B.
fn decode(clock: Rtc, status: u8) -> Option<u64> {
    let binary = status & 4 != 0;
    let number = |value: u8| -> Option<u64> {
        match binary {
            true => Some(value.into()),
            false if value & 0xF <= 9 && value >> 4 <= 9 => {
                Some(u64::from(value >> 4) * 10 + u64::from(value & 0xF))
            }
            false => None,
        }
    };
    let mut hour = number(clock.hour & 0x7F)?;
    if status & 2 == 0 {
        // 12-hour mode: 12, 1, ..., 11 with bit 7 for the afternoon.
        hour = hour % 12 + if clock.hour & 0x80 != 0 { 12 } else { 0 };
    }
    let (second, minute) = (number(clock.second)?, number(clock.minute)?);
    let (day, month, short_year) = (number(clock.day)?, number(clock.month)?, number(clock.year)?);
    let century = number(clock.century).filter(|century| (19..=29).contains(century)).unwrap_or(20);
    let possible = second < 61 && minute < 60 && hour < 24 && short_year < 100;
    let possible = possible && (1..=31).contains(&day) && (1..=12).contains(&month);
    possible.then(|| filetime(century * 100 + short_year, month, day, hour * 3600 + minute * 60 + second))
}

/// FILETIME of a date of the Gregorian calendar, from 1601 on, and a second of that day.
const fn filetime(year: u64, month: u64, day: u64, second: u64) -> u64 {
    // Years begin in March here, so that the leap day is the last day of a year.
    let march_year = if month > 2 { year } else { year - 1 };
    let march_month = (month + 9) % 12;
    let days_before_year = march_year * 365 + march_year / 4 - march_year / 100 + march_year / 400;
    let days = days_before_year + (march_month * 153 + 2) / 5 + day - 1;
    // The same count for 1 January 1601.
    const EPOCH: u64 = 1600 * 365 + 400 - 16 + 4 + 306;
    ((days - EPOCH) * 86_400 + second) * UNITS
}

// Known values: the epoch itself, Unix's epoch, a leap day, and a date after 2038.
const _: () = {
    assert!(filetime(1601, 1, 1, 0) == 0);
    assert!(filetime(1970, 1, 1, 0) == 116_444_736_000_000_000);
    assert!(filetime(2000, 2, 29, 0) == (11_016 * 86_400 + 11_644_473_600) * UNITS);
    assert!(filetime(2040, 12, 31, 86_399) == (2_240_611_199 + 11_644_473_600) * UNITS);
};
