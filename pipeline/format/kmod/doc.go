// Package kmod reads the kernel modules of one release, selects some with all that they
// need, and writes the files that depmod would write for them.
//
// Names are compared as Linux compares them: "-" and "_" are equal. What a module needs is
// read from the module itself, so a kernel package that nobody ran depmod on will do. The
// files are those of kmod 30 (tools/depmod.c and libkmod/libkmod-elf.c of
// github.com/kmod-project/kmod), byte for byte, with one exception: the lines of
// modules.symbols, which depmod writes in the order of a hash table, are sorted.
//
// Who reads what: kmod's modprobe reads the .bin files and modules.softdep; busybox reads
// modules.dep, modules.alias, modules.symbols and modules.builtin; u-root's modprobe reads
// modules.dep and modules.builtin alone.
//
// Limits: modules are ELF files for 64-bit ARM, compressed or not (.ko, .ko.gz, .ko.xz,
// .ko.zst) and at most 256 MiB large. A module that is a symbolic link is not seen.
// Settings in modprobe.d and depmod.d are not looked at, except for what depmod does
// without any: modules in updates/ come before others of the same name.
package kmod
