//! The 16550 serial port.
//!
//! Output polls the line status and fills the FIFO sixteen bytes at a time. Input comes by interrupt
//! (received data only); [`Uart::receive`] empties the FIFO and then switches the interrupt off and on
//! again in the chip, so that a byte which came in between raises the (edge-triggered) line anew and none
//! is ever stuck. A port that is not there (all ones in the line status) swallows output.

use alloc::vec::Vec;

/// Access to the chip's eight registers.
pub trait Registers {
    /// Reads register `index`.
    fn read(&mut self, index: u8) -> u8;
    /// Writes `bytes`, one after the other, to register `index`.
    fn write(&mut self, index: u8, bytes: &[u8]);
}

const DATA: u8 = 0;
const INTERRUPT_ENABLE: u8 = 1;
const FIFO_CONTROL: u8 = 2;
const LINE_CONTROL: u8 = 3;
const MODEM_CONTROL: u8 = 4;
const LINE_STATUS: u8 = 5;
const SCRATCH: u8 = 7;

const STATUS_DATA_READY: u8 = 0x01;
const STATUS_TRANSMITTER_EMPTY: u8 = 0x20;
const ENABLE_RECEIVE: u8 = 0x01;
/// DTR, RTS, and OUT2, which lets the interrupt through on a PC.
const MODEM_ON: u8 = 0x0B;
const FIFO: usize = 16;

/// A 16550 behind its registers.
#[derive(Debug)]
pub struct Uart<R> {
    registers: R,
    present: bool,
}

impl<R: Registers> Uart<R> {
    /// Sets the port to 115200 baud, 8N1, FIFOs on, receive interrupt on.
    pub fn new(mut registers: R) -> Self {
        registers.write(INTERRUPT_ENABLE, &[0]);
        registers.write(SCRATCH, &[0x5A]);
        let present = registers.read(SCRATCH) == 0x5A;
        registers.write(LINE_CONTROL, &[0x80]);
        registers.write(DATA, &[1]);
        registers.write(INTERRUPT_ENABLE, &[0]);
        registers.write(LINE_CONTROL, &[0x03]);
        // On, trigger level 1. The receiver is not cleared: what was typed during the start-up stays.
        registers.write(FIFO_CONTROL, &[0x01]);
        registers.write(MODEM_CONTROL, &[MODEM_ON]);
        registers.write(INTERRUPT_ENABLE, &[ENABLE_RECEIVE]);
        Self { registers, present }
    }

    /// True when the chip answers.
    pub fn is_present(&self) -> bool {
        self.present
    }

    /// Writes as much of `bytes` as the transmitter takes now and gives back the rest.
    pub fn transmit<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        if !self.present {
            return &[];
        }
        if bytes.is_empty() || self.registers.read(LINE_STATUS) & STATUS_TRANSMITTER_EMPTY == 0 {
            return bytes;
        }
        let (now, rest) = bytes.split_at(bytes.len().min(FIFO));
        self.registers.write(DATA, now);
        rest
    }

    /// True when something has come in.
    pub fn has_input(&mut self) -> bool {
        self.present && self.registers.read(LINE_STATUS) & STATUS_DATA_READY != 0
    }

    /// Takes everything that has come in. Call it after the interrupt has been acknowledged.
    pub fn receive(&mut self, into: &mut Vec<u8>) {
        if !self.present {
            return;
        }
        // The bound keeps a broken chip from holding the caller; the interrupt comes again for the rest.
        for _ in 0..4096 {
            if self.registers.read(LINE_STATUS) & STATUS_DATA_READY == 0 {
                break;
            }
            into.push(self.registers.read(DATA));
        }
        self.registers.write(INTERRUPT_ENABLE, &[0]);
        self.registers.write(INTERRUPT_ENABLE, &[ENABLE_RECEIVE]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::VecDeque;

    #[derive(Default)]
    struct Chip {
        scratch: u8,
        line_control: u8,
        enabled: Vec<u8>,
        input: VecDeque<u8>,
        output: Vec<u8>,
        busy: usize,
        absent: bool,
    }

    impl Registers for &mut Chip {
        fn read(&mut self, index: u8) -> u8 {
            match index {
                _ if self.absent => 0xFF,
                DATA => self.input.pop_front().unwrap_or(0xEE),
                SCRATCH => self.scratch,
                LINE_STATUS => {
                    let ready = u8::from(!self.input.is_empty());
                    let empty = if self.busy == 0 { STATUS_TRANSMITTER_EMPTY } else { 0 };
                    self.busy = self.busy.saturating_sub(1);
                    ready | empty
                }
                _ => 0,
            }
        }

        fn write(&mut self, index: u8, bytes: &[u8]) {
            match index {
                DATA if self.line_control & 0x80 != 0 => {}
                DATA => {
                    assert!(bytes.len() <= FIFO);
                    self.output.extend(bytes);
                    self.busy = 2;
                }
                INTERRUPT_ENABLE => self.enabled.extend(bytes),
                LINE_CONTROL => self.line_control = bytes[0],
                SCRATCH => self.scratch = bytes[0],
                _ => {}
            }
        }
    }

    #[test]
    fn output_goes_in_fifo_sized_pieces() {
        let mut chip = Chip::default();
        let text: Vec<u8> = (0..100).collect();
        let mut uart = Uart::new(&mut chip);
        let mut rest = &text[..];
        let mut polls = 0;
        while !rest.is_empty() {
            rest = uart.transmit(rest);
            polls += 1;
        }
        assert!(polls > 7);
        assert_eq!(chip.output, text);
    }

    #[test]
    fn input_is_drained_and_the_interrupt_armed_again() {
        let mut chip = Chip { input: (0..50).collect(), ..Chip::default() };
        let mut got = Vec::new();
        let mut uart = Uart::new(&mut chip);
        assert!(uart.has_input());
        uart.receive(&mut got);
        assert!(!uart.has_input());
        assert_eq!(got, (0..50).collect::<Vec<u8>>());
        assert_eq!(chip.enabled[chip.enabled.len() - 2..], [0, ENABLE_RECEIVE]);
    }

    #[test]
    fn a_port_that_is_not_there_swallows_output() {
        let mut chip = Chip { absent: true, ..Chip::default() };
        let mut uart = Uart::new(&mut chip);
        assert!(!uart.is_present() && !uart.has_input());
        assert_eq!(uart.transmit(b"text"), b"");
        let mut got = Vec::new();
        uart.receive(&mut got);
        assert_eq!(got, b"");
    }
}
