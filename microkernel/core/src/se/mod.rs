//! Security without hardware: what a token says ([`token`]), and what a security descriptor lets it do ([`access`]).

pub mod access;
pub mod token;
