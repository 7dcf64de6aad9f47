package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"piimg/pipeline/format/sdcard"
)

// writeOptions are the flags of write.
type writeOptions struct {
	yes     bool
	anyDisk bool
}

func newWrite(a *app) *cobra.Command {
	var o writeOptions
	c := &cobra.Command{
		Use:   "write IMAGE DEVICE",
		Short: "Write an image to an SD card or USB stick, and read it back",
		Long: `write puts a disk with one FAT partition that holds the boot files of an image onto a
device, as piimg export --sdcard writes it into a file, and then reads all of it back from
the device and compares. Everything that was on the device is lost. Size and label are those
that the recipe of the image says under [output].

A device is refused that is mounted, is used for swapping or by another device, is a
partition, can only be read, or is too small; and one that is not removable, unless
--any-disk says that it is meant. An existing file can stand for a device.` + "\n" + exitCodes,
		Example: `  piimg write prod /dev/sdX
  piimg write prod /dev/mmcblk0 --yes`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runWrite(cmd.Context(), args[0], args[1], o)
		},
	}
	c.Flags().BoolVarP(&o.yes, "yes", "y", false, "do not ask")
	c.Flags().BoolVar(&o.anyDisk, "any-disk", false, "write to a disk that is not removable, too")
	return c
}

func (a *app) runWrite(ctx context.Context, ref, name string, o writeOptions) error {
	s, err := a.openStore(ctx)
	if err != nil {
		return err
	}
	b := bootFiles{store: s}
	if b.image, b.config, err = readImage(ctx, s, ref); err != nil {
		return err
	}
	a.warnOfTemplates(ctx, s, b.image.Digest)
	card, err := b.card()
	if err != nil {
		return err
	}
	disk, err := b.disk(ctx, card)
	if err != nil {
		return fmt.Errorf("write %s: %w", ref, err)
	}
	d, err := openDevice(name, o.anyDisk)
	if err != nil {
		return err
	}
	defer d.Close()
	if disk.Size > d.size {
		err := fmt.Errorf("%s has %s, and %s takes %s", name, size(d.size), ref, size(disk.Size))
		if card.Size > 0 {
			return hint(err, "its recipe asks for that much: output.sdcard_size = %q", sdcard.FormatSize(card.Size))
		}
		return err
	}
	if err := a.confirm(fmt.Sprintf("write %s to %s (%s), and lose what is on it?", ref, name, d.what()), o.yes); err != nil {
		return err
	}
	err = a.writeDisk(ctx, disk, d)
	if errors.Is(err, unix.EIO) {
		err = hint(err, "the card or its reader fails: take another, and what is on this one is of no use now")
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	a.ui.say("wrote and read back %s", size(disk.Size))
	fmt.Fprintln(a.out, b.image.Digest)
	return nil
}

// confirm asks on a terminal; elsewhere the answer has to be given beforehand.
func (a *app) confirm(question string, yes bool) error {
	if yes {
		return nil
	}
	in, ok := a.in.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return hint(usageError{errors.New("nobody is there to ask: " + question)}, "say --yes if it is meant")
	}
	a.ui.say("%s [y/N]", question)
	answer, err := bufio.NewReader(in).ReadString('\n')
	if err != nil || !strings.EqualFold(strings.TrimSpace(answer), "y") {
		return errors.New("nothing was written")
	}
	return nil
}

// writeDisk writes, and reads back what the device itself holds.
func (a *app) writeDisk(ctx context.Context, disk *sdcard.Image, d *device) error {
	if _, err := d.Seek(0, io.SeekStart); err != nil {
		return err
	}
	h := sha256.New()
	p := &passage{ctx: ctx, app: a, what: "write", total: disk.Size}
	if _, err := disk.WriteTo(io.MultiWriter(d, h, p)); err != nil {
		return err
	}
	if err := d.settle(); err != nil {
		return err
	}
	if _, err := d.Seek(0, io.SeekStart); err != nil {
		return err
	}
	read := sha256.New()
	p = &passage{ctx: ctx, app: a, what: "read back", total: disk.Size}
	if _, err := io.CopyN(io.MultiWriter(read, p), d, disk.Size); err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	if string(read.Sum(nil)) != string(h.Sum(nil)) {
		return hint(errors.New("what is read back is not what was written"), "the card is worn out or not of the size that it says: take another")
	}
	return d.reread()
}

// passage counts bytes that go by, shows them, and ends with the context.
type passage struct {
	ctx         context.Context
	app         *app
	what        string
	done, total int64
}

func (p *passage) Write(b []byte) (int, error) {
	p.done += int64(len(b))
	p.app.ui.now("%s: %s of %s", p.what, size(p.done), size(p.total))
	return len(b), p.ctx.Err()
}

// settle has everything on the device, and forgets what is in memory of it.
func (d *device) settle() error {
	if err := d.Sync(); err != nil {
		return err
	}
	if d.block {
		if err := unix.IoctlSetInt(int(d.Fd()), unix.BLKFLSBUF, 0); err != nil {
			return fmt.Errorf("flush: %w", err)
		}
	}
	return unix.Fadvise(int(d.Fd()), 0, 0, unix.FADV_DONTNEED)
}

// reread has the kernel look at the partitions anew. A device that cannot have any is fine.
func (d *device) reread() error {
	if !d.block {
		return nil
	}
	if err := unix.IoctlSetInt(int(d.Fd()), unix.BLKRRPART, 0); err != nil && !errors.Is(err, unix.EINVAL) {
		return hint(fmt.Errorf("the card is written, but the kernel does not look at its partitions: %w", err), "take it out and put it in again")
	}
	return nil
}
