// Package simpi is a simulated Raspberry Pi that boots over the network from any TFTP
// server: it sends the requests that a real board's bootloader and firmware send, in
// their order, reads config.txt as they do, and reports what it got and what would have
// gone wrong.
//
// What is simulated is the protocol, from the first TFTP request to the last byte of the
// kernel: file names and their order, options and block sizes by the age of the
// bootloader, existence probes, resends, time limits, and which answers a board does not
// survive. DHCP, HTTP boot, power, HDMI, the contents of a boot.img, signatures and
// everything that runs after the kernel was loaded are not simulated.
//
// No hardware was used. The rules come from Raspberry Pi's documentation and release
// notes, from names found in the published firmware, and from logs and captures that
// owners of boards have published; each rule's comment names its kind of source. Where
// the order of requests is known to differ between firmware versions, a seed chooses
// among the orders that were seen.
//
// The simulated boards have been booted from dnsmasq 2.90, tftpd-hpa 5.2, atftpd 0.8 and
// servers made of pin/tftp. Simulated are the Pi 3 (the 3B+ after a published log), the Pi 4
// family (after a published log) and the Pi 5 family (reconstructed, see bootPi5): see
// [Simulated].
package simpi
