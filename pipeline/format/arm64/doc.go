// Package arm64 reads the header of a Linux kernel image for 64-bit ARM, as
// Documentation/arch/arm64/booting.rst of Linux describes it, and names what a file is
// that is none.
//
// Limits: it looks at the first bytes only ([HeaderSize]; more of them let it name more
// wrong files). A gzip-compressed image is recognised, which the Raspberry Pi's firmware
// unpacks by itself; what is inside is not looked at.
package arm64
