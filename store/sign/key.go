package sign

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/crypto/ssh"

	"piimg/store"
)

// PublicKey is an Ed25519 key, of a file or of a token. The zero PublicKey is none.
type PublicKey struct{ ssh ssh.PublicKey }

// ParsePublic reads a line of a .pub file: type, key and a comment.
func ParsePublic(line string) (key PublicKey, comment string, err error) {
	k, comment, _, rest, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil || len(bytes.TrimSpace(rest)) > 0 {
		return PublicKey{}, "", errors.New("not one line with a public SSH key")
	}
	key, err = onlyEd25519(k)
	return key, comment, err
}

func parseWire(doc []byte) (PublicKey, error) {
	k, err := ssh.ParsePublicKey(doc)
	if err != nil {
		return PublicKey{}, errors.New("a damaged public SSH key")
	}
	return onlyEd25519(k)
}

func onlyEd25519(k ssh.PublicKey) (PublicKey, error) {
	if t := k.Type(); t != ssh.KeyAlgoED25519 && t != ssh.KeyAlgoSKED25519 {
		return PublicKey{}, fmt.Errorf("a key of type %s: only Ed25519 keys are taken", t)
	}
	return PublicKey{k}, nil
}

// ID is the fingerprint that ssh-keygen -l prints, "SHA256:…".
func (k PublicKey) ID() string { return ssh.FingerprintSHA256(k.ssh) }

// Hex is the same fingerprint in the characters of an object's key.
func (k PublicKey) Hex() string {
	d := store.Sum(k.ssh.Marshal())
	return hex.EncodeToString(d[:])
}

// String is the key as a .pub file has it, without a comment.
func (k PublicKey) String() string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(k.ssh)))
}

// Signer makes signatures with one key.
type Signer interface {
	Key() PublicKey

	// Sign signs message in namespace. It may wait for a person who touches a token, until
	// ctx ends.
	Sign(ctx context.Context, namespace string, message []byte) (store.Sig, error)
}

// fileKey is a Signer whose key was read from a file.
type fileKey struct {
	signer ssh.Signer
	key    PublicKey
}

func (k fileKey) Key() PublicKey { return k.key }

func (k fileKey) Sign(_ context.Context, namespace string, message []byte) (store.Sig, error) {
	armored, err := makeSig(k.key, namespace, message, func(text []byte) (*ssh.Signature, error) {
		return k.signer.Sign(rand.Reader, text)
	})
	return store.Sig{KeyID: k.key.ID(), SSHSig: armored}, err
}

// Open is the signer of a key file: of a private key, whose passphrase ask says where it
// has one, or of a public key, whose private half the agent at the socket has. Errors never
// have a part of the file in them.
func Open(ctx context.Context, file, socket string, ask func() ([]byte, error)) (Signer, error) {
	doc, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if key, _, err := ParsePublic(string(doc)); err == nil {
		return openAgent(ctx, socket, key, file)
	}
	if block, _ := pem.Decode(doc); block == nil || !strings.HasSuffix(block.Type, "PRIVATE KEY") {
		return nil, fmt.Errorf("%s is neither a private nor a public SSH key", file)
	}
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s may be read by others (mode %04o): chmod 600 %s", file, info.Mode().Perm(), file)
	}
	return parsePrivate(file, doc, ask)
}

func parsePrivate(file string, doc []byte, ask func() ([]byte, error)) (Signer, error) {
	signer, err := ssh.ParsePrivateKey(doc)
	var locked *ssh.PassphraseMissingError
	if errors.As(err, &locked) {
		pass, err := ask()
		if err != nil {
			return nil, fmt.Errorf("unlock %s: %w", file, err)
		}
		// The library's errors are not repeated: nothing of the file may be in them.
		if signer, err = ssh.ParsePrivateKeyWithPassphrase(doc, pass); err != nil {
			return nil, fmt.Errorf("unlock %s: the passphrase is wrong, or the file is damaged", file)
		}
	} else if err != nil {
		return nil, fmt.Errorf("%s: a private key that cannot be read", file)
	}
	key, err := onlyEd25519(signer.PublicKey())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return fileKey{signer, key}, nil
}

// Public is the key of a file, private or public. It asks no passphrase: the public half
// of an OpenSSH key is not encrypted.
func Public(file string) (PublicKey, string, error) {
	doc, err := os.ReadFile(file)
	if err != nil {
		return PublicKey{}, "", err
	}
	if key, comment, err := ParsePublic(string(doc)); err == nil {
		return key, comment, nil
	}
	signer, err := ssh.ParsePrivateKey(doc)
	var locked *ssh.PassphraseMissingError
	switch {
	case errors.As(err, &locked) && locked.PublicKey != nil:
		key, err := onlyEd25519(locked.PublicKey)
		return key, "", err
	case err != nil:
		return PublicKey{}, "", fmt.Errorf("%s is no SSH key that can be read", file)
	}
	key, err := onlyEd25519(signer.PublicKey())
	return key, "", err
}

// Create makes a key and writes it to file, and its public half to file.pub. An empty
// passphrase leaves it unencrypted. Neither file may be there already.
func Create(file, comment string, passphrase []byte) (PublicKey, error) {
	if err := store.CheckLine("comment", comment); err != nil {
		return PublicKey{}, err
	}
	for _, name := range []string{file, file + ".pub"} {
		if _, err := os.Lstat(name); err == nil {
			return PublicKey{}, fmt.Errorf("%s is there already", name)
		}
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return PublicKey{}, err
	}
	var block *pem.Block
	if len(passphrase) > 0 {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(private, comment, passphrase)
	} else {
		block, err = ssh.MarshalPrivateKey(private, comment)
	}
	if err != nil {
		return PublicKey{}, fmt.Errorf("make a key: %w", err)
	}
	k, err := ssh.NewPublicKey(public)
	if err != nil {
		return PublicKey{}, err
	}
	key := PublicKey{k}
	if err := writeNew(file, pem.EncodeToMemory(block), 0o600); err != nil {
		return PublicKey{}, err
	}
	line := strings.TrimRight(key.String()+" "+comment, " ") + "\n"
	return key, writeNew(file+".pub", []byte(line), 0o644)
}

// writeNew writes a file that must not be there, and syncs it.
func writeNew(file string, doc []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(doc)
	if serr := f.Sync(); err == nil {
		err = serr
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}
