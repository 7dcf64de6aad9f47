// Package fat writes FAT file systems once, from beginning to end, and reads them.
//
// [New] lays out FAT12, FAT16 or FAT32, whichever the number of clusters asks for, and
// [Image.WriteTo] writes it as a stream: the same files give the same bytes. Every file
// lies in one piece. Long names (VFAT) are written for all names but those that are upper
// case and short. [Open] shows an image as an fs.FS.
//
// Limits: sectors of 512 bytes, files below 4 GiB, names of at most 255 UTF-16 units that
// Windows would take too. No library was found that does this: go-diskfs v1.9.4 writes a
// FAT32 of exactly 64 MiB that fsck.fat refuses, and times and serial numbers of its own.
package fat
