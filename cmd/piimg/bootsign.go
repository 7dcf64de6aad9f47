package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"piimg/pipeline/format/bootsig"
	"piimg/store"
)

// bootSigner is who signs ramdisks for bootloaders: a key in a file, or a command that
// reaches one that nobody gets hold of. It is nil where neither is named.
func (a *app) bootSigner(o buildOptions) (func(context.Context, string) ([]byte, error), error) {
	key, command := o.bootKey, o.bootSign
	if key == "" && command == "" {
		key, command = a.getenv("PIIMG_BOOT_KEY"), a.getenv("PIIMG_BOOT_SIGN")
	}
	switch {
	case key != "" && command != "":
		return nil, usageError{errors.New("both a key and a command are named that sign boot.img: name one")}
	case command != "":
		return func(ctx context.Context, file string) ([]byte, error) { return signByCommand(ctx, command, file) }, nil
	case key != "":
		return func(_ context.Context, file string) ([]byte, error) { return signByKey(key, file) }, nil
	}
	return nil, nil
}

func signByKey(key, file string) ([]byte, error) {
	text, err := os.ReadFile(key)
	if err != nil {
		return nil, err
	}
	private, err := bootsig.PrivateKey(text)
	if err != nil {
		return nil, fmt.Errorf("read key %s: %w", key, err)
	}
	c, err := store.FileContent(file)
	if err != nil {
		return nil, err
	}
	return bootsig.Sign(private, [32]byte(c.Digest))
}

// signByCommand runs a command as Raspberry Pi's tools run their HSM wrapper: with
// "-a rsa2048-sha256" and the file, and it prints the signature in hexadecimal digits.
func signByCommand(ctx context.Context, command, file string) ([]byte, error) {
	argv := append(strings.Fields(command), "-a", "rsa2048-sha256", file)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var out, diag bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &diag
	if err := cmd.Run(); err != nil {
		if said := strings.TrimSpace(diag.String()); said != "" {
			return nil, fmt.Errorf("%s: %w: %s", argv[0], err, printable(said))
		}
		return nil, fmt.Errorf("%s: %w", argv[0], err)
	}
	sig, err := hex.DecodeString(strings.TrimSpace(out.String()))
	if err != nil {
		return nil, fmt.Errorf("%s printed no hexadecimal digits", argv[0])
	}
	return sig, nil
}
