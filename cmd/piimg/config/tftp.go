package config

import "net/netip"

// TFTP is the [tftp] table: what the TFTP server gives to whom. What is 0 has the default
// that the front end's README names. The TFTP server says what is wrong with it.
type TFTP struct {
	SinglePort     bool      `toml:"single_port"`     // answer from the port that was asked, for firewalls that let no other through
	Window         int       `toml:"windowsize"`      // largest window, in blocks
	Transfers      int       `toml:"transfers"`       // at a time; further requests wait for their turn
	BoardTransfers int       `toml:"board_transfers"` // at a time of one board
	Waiting        int       `toml:"waiting"`         // requests of one address that may wait
	Promise        Size      `toml:"promise"`         // bytes of large files at a time, for a network without a rate; 1.25 GB
	Timeout        Duration  `toml:"timeout"`         // until a block without an answer is sent again, before round trips are known; 1s
	TimeoutFloor   Duration  `toml:"timeout_floor"`   // the least of it, once they are, and a quarter of it where many packets get lost; 100ms
	Retries        int       `toml:"retries"`         // of one block, until a client is given up
	Networks       []Network `toml:"networks"`        // that are served; without any, all
}

// Network is an entry of [[tftp.networks]]. Of several that an address is in, the smallest
// counts.
type Network struct {
	Prefix netip.Prefix `toml:"prefix"` // such as 10.12.0.0/16
	Rate   Size         `toml:"rate"`   // bytes a second for all of it; 0: no limit
}
