// Package lint looks at a finished set of boot files with the eyes of each board that is
// to boot it: it evaluates config.txt as that board's bootloader and firmware do, follows
// what they would ask for, and reports what would go wrong.
//
// The rules are a value ([Rules]); README.md has the table with their sources. A rule
// reads files and config.txt only: it knows neither recipes nor stores. No finding says
// that an image boots: no hardware was used.
package lint
