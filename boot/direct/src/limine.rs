//! The Limine boot protocol: finding requests in a loaded image, and the shapes of the answers.
//!
//! Requests and answers are C structures of 64-bit words (two 32-bit fields share a word), so both are
//! words here. Base revision 2 and what it inherits; written from the protocol's text.

use crate::Error;
use heapless::Vec;

/// What all requests begin with.
const COMMON: [u64; 2] = [0xc7b1_dd30_df4c_8b88, 0x0a82_e883_a194_f07b];
/// What the base revision tag begins with; the third word is the revision.
const REVISION: [u64; 2] = [0xf956_2b2d_5c95_a6c8, 0x6a7b_3849_4453_6bdc];
/// Requests count only after the last of these ...
const START: [u64; 4] =
    [0xf6b8_f4b3_9de7_d1ae, 0xfab9_1a69_40fc_b9cf, 0x785c_6ed0_15d3_e316, 0x181e_920a_7852_b9d9];
/// ... and before the first of these.
const END: [u64; 2] = [0xadc0_e053_1bb1_0d03, 0x9572_709f_3176_4c62];

/// The highest base revision served; a kernel that asks for more gets this one, and its tag stays as it
/// was.
pub const HIGHEST_REVISION: u64 = 2;

/// The words of a request: identity (4), revision, response, then its own fields.
const RESPONSE: usize = 5;
/// The first of a request's own fields.
const FIELDS: usize = 6;

/// The requests served, by the second half of their identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Feature {
    BootloaderInfo,
    ExecutableCmdline,
    FirmwareType,
    StackSize,
    Hhdm,
    PagingMode,
    Mp,
    Memmap,
    EntryPoint,
    ExecutableFile,
    Modules,
    Rsdp,
    DateAtBoot,
    ExecutableAddress,
}

impl Feature {
    /// The last two words of the request's identity.
    fn id(self) -> [u64; 2] {
        match self {
            Feature::BootloaderInfo => [0xf550_38d8_e2a1_202f, 0x2794_26fc_f5f5_9740],
            Feature::ExecutableCmdline => [0x4b16_1536_e598_651e, 0xb390_ad4a_2f1f_303a],
            Feature::FirmwareType => [0x8c2f_75d9_0bef_28a8, 0x7045_a468_8eac_00c3],
            Feature::StackSize => [0x224e_f046_0a8e_8926, 0xe1cb_0fc2_5f46_ea3d],
            Feature::Hhdm => [0x48dc_f1cb_8ad2_b852, 0x6398_4e95_9a98_244b],
            Feature::PagingMode => [0x95c1_a0ed_ab09_44cb, 0xa4e5_cb38_42f7_488a],
            Feature::Mp => [0x95a6_7b81_9a1b_857e, 0xa0b6_1b72_3b6a_73e0],
            Feature::Memmap => [0x67cf_3d9d_378a_806f, 0xe304_acdf_c50c_3c62],
            Feature::EntryPoint => [0x13d8_6c03_5a1c_d3e1, 0x2b0c_aa89_d8f3_026a],
            Feature::ExecutableFile => [0xad97_e90e_83f1_ed67, 0x31eb_5d1c_5ff2_3b69],
            Feature::Modules => [0x3e7e_2797_02be_32af, 0xca1c_4f3b_d128_0cee],
            Feature::Rsdp => [0xc5e7_7b6b_397e_7b43, 0x2763_7845_accd_cf3c],
            Feature::DateAtBoot => [0x5027_46e1_84c0_88aa, 0xfbc5_ec83_e632_7893],
            Feature::ExecutableAddress => [0x71ba_7686_3cc5_5f63, 0xb264_4a48_c516_a487],
        }
    }
}

/// A kernel's loaded image, and where its requests are.
#[derive(Debug)]
pub struct Requests<'a> {
    image: &'a mut [u64],
    found: Vec<usize, 64>,
    /// The base revision in force.
    pub base_revision: u64,
}

impl<'a> Requests<'a> {
    /// Finds the requests in an image and answers its base revision tag.
    pub fn scan(image: &'a mut [u64]) -> Result<Requests<'a>, Error> {
        let mut found: Vec<usize, 64> = Vec::new();
        let mut tag = None;
        for at in 0..image.len() {
            let here = &image[at..];
            if here.starts_with(&START) {
                found.clear();
                tag = None;
            } else if here.starts_with(&END) {
                break;
            } else if here.starts_with(&REVISION) && here.len() >= 3 {
                if tag.replace(at + 2).is_some() {
                    return Err(Error::DuplicateRevision);
                }
            } else if here.starts_with(&COMMON) && here.len() >= FIELDS {
                let id = &here[2..4];
                if found.iter().any(|other| &image[other + 2..other + 4] == id) {
                    return Err(Error::DuplicateRequest(id[0], id[1]));
                }
                found.push(at).map_err(|_| Error::TooMany("requests in the kernel"))?;
            }
        }
        if found.is_empty() {
            return Err(Error::NoRequests);
        }
        let mut base_revision = 0;
        if let Some(tag) = tag {
            base_revision = image[tag].min(HIGHEST_REVISION);
            if image[tag] <= HIGHEST_REVISION {
                image[tag] = 0;
            }
        }
        Ok(Requests { image, found, base_revision })
    }

    /// Where a feature's request is, if the kernel makes it.
    fn position(&self, feature: Feature) -> Option<usize> {
        self.found.iter().copied().find(|at| self.image[at + 2..at + 4] == feature.id())
    }

    /// Whether the kernel makes this request.
    pub fn wants(&self, feature: Feature) -> bool {
        self.position(feature).is_some()
    }

    /// The revision of a request.
    pub fn revision(&self, feature: Feature) -> u64 {
        self.position(feature).map_or(0, |at| self.image[at + 4])
    }

    /// A field of a request.
    pub fn field(&self, feature: Feature, number: usize) -> Option<u64> {
        self.image.get(self.position(feature)? + FIELDS + number).copied()
    }

    /// Gives a request its response's address.
    pub fn answer(&mut self, feature: Feature, response: u64) {
        if let Some(at) = self.position(feature) {
            self.image[at + RESPONSE] = response;
        }
    }
}

/// `struct limine_file`, for a file on no particular disk.
pub fn file(address: u64, size: u64, path: u64, cmdline: u64) -> [u64; 14] {
    let mut words = [0; 14];
    words[1..5].copy_from_slice(&[address, size, path, cmdline]);
    words
}

/// `struct limine_mp_info`; the third word is the address to go to.
pub fn processor(uid: u32, apic_id: u32) -> [u64; 4] {
    [u64::from(uid) | u64::from(apic_id) << 32, 0, 0, 0]
}

/// The multiprocessor response: revision, flags and this processor's id, the list.
pub fn mp_response(boot_apic_id: u32, count: usize, list: u64) -> [u64; 4] {
    [0, u64::from(boot_apic_id) << 32, count as u64, list]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(feature: Feature, fields: &[u64]) -> std::vec::Vec<u64> {
        [&COMMON[..], &feature.id(), &[0, 0], fields].concat()
    }

    fn tag(revision: u64) -> [u64; 3] {
        [REVISION[0], REVISION[1], revision]
    }

    #[test]
    fn finds_and_answers() {
        let mut image =
            [&[1, 2, 3][..], &tag(2), &request(Feature::Hhdm, &[]), &request(Feature::StackSize, &[0x20000])]
                .concat();
        let mut requests = Requests::scan(&mut image).unwrap();
        assert_eq!(requests.base_revision, 2);
        assert!(requests.wants(Feature::Hhdm) && !requests.wants(Feature::Mp));
        assert_eq!(requests.field(Feature::StackSize, 0), Some(0x20000));
        assert_eq!(requests.field(Feature::StackSize, 1), None);
        requests.answer(Feature::Hhdm, 77);
        requests.answer(Feature::Mp, 78);
        assert_eq!(image[5], 0);
        assert_eq!(image[6 + RESPONSE], 77);
        assert!(!image.contains(&78));
    }

    #[test]
    fn revisions() {
        for (asked, used, left) in [(0, 0, 0), (1, 1, 0), (2, 2, 0), (3, 2, 3), (6, 2, 6)] {
            let mut image = [&request(Feature::Hhdm, &[])[..], &tag(asked)].concat();
            assert_eq!(Requests::scan(&mut image).unwrap().base_revision, used);
            assert_eq!(*image.last().unwrap(), left);
        }
        let mut image = request(Feature::Hhdm, &[]);
        assert_eq!(Requests::scan(&mut image).unwrap().base_revision, 0);
        let mut image = [&tag(2)[..], &tag(2)].concat();
        assert_eq!(Requests::scan(&mut image).unwrap_err(), Error::DuplicateRevision);
    }

    #[test]
    fn only_between_the_markers() {
        let mut image = [
            &request(Feature::Mp, &[0])[..],
            &tag(1),
            &START,
            &tag(2),
            &request(Feature::Hhdm, &[]),
            &END,
            &request(Feature::Hhdm, &[]),
            &request(Feature::Rsdp, &[]),
        ]
        .concat();
        let requests = Requests::scan(&mut image).unwrap();
        assert_eq!(requests.base_revision, 2);
        assert!(requests.wants(Feature::Hhdm));
        assert!(!requests.wants(Feature::Mp) && !requests.wants(Feature::Rsdp));
    }

    #[test]
    fn refuses_none_and_duplicates() {
        assert_eq!(Requests::scan(&mut [0; 20]).unwrap_err(), Error::NoRequests);
        let mut cut = COMMON;
        assert_eq!(Requests::scan(&mut cut).unwrap_err(), Error::NoRequests);
        let twice = request(Feature::Hhdm, &[]);
        let mut image = [&twice[..], &twice].concat();
        let [_, _, a, b] = twice[..4] else { unreachable!() };
        assert_eq!(Requests::scan(&mut image).unwrap_err(), Error::DuplicateRequest(a, b));
    }
}
