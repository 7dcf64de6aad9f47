// Package fdt reads flattened device trees (.dtb, .dtbo), as chapter 5 of the Devicetree
// Specification (v0.4) describes them. It writes none.
//
// Limits: versions whose last compatible version is at most 17 and that are at least 16;
// files up to 4 MiB (arm64 Linux takes 2 MiB); 64 levels; names up to 255 bytes. Property
// values point into the bytes that were parsed.
//
// u-root's pkg/dt does more (it writes too, and decodes reg cells), but links nine packages
// for it, a compressor among them; the few facts that piimg needs are a read-only walk.
package fdt
