package config

import "net/netip"

// TFTP is the [tftp] table: what the TFTP server gives to whom. What is 0 has the default
// that the front end's README names.
type TFTP struct {
	SinglePort     bool      `toml:"single_port"`     // answer from the port that was asked, for firewalls that let no other through
	Window         int       `toml:"windowsize"`      // largest window, in blocks
	Transfers      int       `toml:"transfers"`       // at a time; further requests wait for their turn
	BoardTransfers int       `toml:"board_transfers"` // at a time of one board
	Waiting        int       `toml:"waiting"`         // requests of one address that may wait
	Networks       []Network `toml:"networks"`        // that are served; without any, all
}

// Network is an entry of [[tftp.networks]]. Of several that an address is in, the smallest
// counts.
type Network struct {
	Prefix netip.Prefix `toml:"prefix"` // such as 10.12.0.0/16
	Rate   Size         `toml:"rate"`   // bytes a second for all of it; 0: no limit
}
