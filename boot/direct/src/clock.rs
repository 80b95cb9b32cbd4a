//! The real-time clock's registers as seconds since 1970.

/// The registers, as read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registers {
    /// Register 0.
    pub second: u8,
    /// Register 2.
    pub minute: u8,
    /// Register 4; bit 7 is PM on a 12-hour clock.
    pub hour: u8,
    /// Register 7.
    pub day: u8,
    /// Register 8.
    pub month: u8,
    /// Register 9: the last two digits.
    pub year: u8,
    /// Register 11: bit 2 says binary rather than BCD, bit 1 says 24-hour.
    pub mode: u8,
}

impl Registers {
    /// Seconds since 1970-01-01 00:00, taking the year as 2000 to 2099.
    pub fn unix_time(&self) -> i64 {
        let binary = self.mode & 4 != 0;
        let value = |raw: u8| -> i64 { i64::from(if binary { raw } else { (raw >> 4) * 10 + (raw & 15) }) };
        let mut hour = value(self.hour & 0x7f);
        if self.mode & 2 == 0 {
            hour %= 12;
            if self.hour & 0x80 != 0 {
                hour += 12;
            }
        }
        let days = days_since_1970(2000 + value(self.year), value(self.month), value(self.day));
        ((days * 24 + hour) * 60 + value(self.minute)) * 60 + value(self.second)
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar; the year is counted from March, so that the
/// leap day is its last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::Registers;

    #[test]
    fn bcd_and_binary() {
        let bcd =
            Registers { second: 0x59, minute: 0x58, hour: 0x23, day: 0x29, month: 2, year: 0x24, mode: 2 };
        assert_eq!(bcd.unix_time(), 1_709_251_139);
        let binary = Registers { second: 59, minute: 58, hour: 23, day: 29, month: 2, year: 24, mode: 6 };
        assert_eq!(binary.unix_time(), 1_709_251_139);
        let evening =
            Registers { second: 0x59, minute: 0x58, hour: 0x91, day: 0x29, month: 2, year: 0x24, mode: 0 };
        assert_eq!(evening.unix_time(), 1_709_251_139);
        let noon = Registers { second: 0, minute: 0, hour: 0x92, day: 1, month: 1, year: 0, mode: 0 };
        assert_eq!(noon.unix_time(), 946_728_000);
    }
}
