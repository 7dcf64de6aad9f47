// Command uroot lists an archive as u-root's package cpio reads it, a line for each entry.
// Without an argument it writes one of the paths on its standard input.
package main

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"io"
	"log"
	"os"

	"github.com/u-root/u-root/pkg/cpio"
)

func main() {
	if len(os.Args) == 1 {
		write()
		return
	}
	f, err := os.Open(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	r, err := cpio.Newc.NewFileReader(f)
	if err != nil {
		log.Fatal(err)
	}
	for {
		e, err := r.ReadRecord()
		if err == io.EOF {
			return
		}
		if err != nil {
			log.Fatal(err)
		}
		sum := sha256.New()
		if _, err := io.Copy(sum, io.NewSectionReader(e, 0, int64(e.FileSize))); err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%q ino %d mode %o owner %d:%d links %d time %d size %d dev %d:%d rdev %d:%d %x\n", e.Name, e.Ino, e.Mode,
			e.UID, e.GID, e.NLink, e.MTime, e.FileSize, e.Major, e.Minor, e.Rmajor, e.Rminor, sum.Sum(nil))
	}
}

func write() {
	w, recorder := cpio.Newc.Writer(os.Stdout), cpio.NewRecorder()
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		e, err := recorder.GetRecord(lines.Text())
		if err != nil {
			log.Fatal(err)
		}
		if err := w.WriteRecord(e); err != nil {
			log.Fatal(err)
		}
	}
	if err := cpio.WriteTrailer(w); err != nil {
		log.Fatal(err)
	}
}
