// Package bootsig writes and reads boot.sig, by which a Raspberry Pi's bootloader checks
// boot.img: the SHA-256 of the file, a time, and, where the board asks for it, an RSA
// signature. The form is that of rpi-eeprom-digest (github.com/raspberrypi/rpi-eeprom,
// read at 86759b0).
package bootsig

import (
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// keyBits is the only size of key that the bootloader knows.
const keyBits = 2048

// Signature is what boot.sig says of a file.
type Signature struct {
	SHA256 [32]byte
	Time   int64  // Unix seconds; the bootloader does not look at it
	RSA    []byte // PKCS#1 v1.5 over the file with SHA-256, 256 bytes; nil in an unsigned one
}

// Text is the file: hexadecimal digits in lower case, and LF behind each line.
func (s Signature) Text() string {
	text := fmt.Sprintf("%x\nts: %d\n", s.SHA256, s.Time)
	if s.RSA != nil {
		text += fmt.Sprintf("rsa2048: %x\n", s.RSA)
	}
	return text
}

// Parse reads the file, as strictly as the bootloader might.
func Parse(text string) (Signature, error) {
	var s Signature
	lines := strings.Split(text, "\n")
	if len(lines) < 3 || lines[len(lines)-1] != "" {
		return s, errors.New("has no two lines that end with a line feed")
	}
	sum, err := lowerHex(lines[0], len(s.SHA256))
	if err != nil {
		return s, fmt.Errorf("line 1: the SHA-256: %w", err)
	}
	copy(s.SHA256[:], sum)
	for n, line := range lines[1 : len(lines)-1] {
		key, value, _ := strings.Cut(line, ": ")
		switch key {
		case "ts":
			s.Time, err = strconv.ParseInt(value, 10, 64)
		case "rsa2048":
			s.RSA, err = lowerHex(value, keyBits/8)
		case "target-soc": // of EEPROM images
		default:
			err = errors.New("is nothing that a signature has")
		}
		if err != nil {
			return s, fmt.Errorf("line %d: %q: %w", n+2, key, err)
		}
	}
	return s, nil
}

func lowerHex(text string, size int) ([]byte, error) {
	if len(text) != 2*size || strings.ToLower(text) != text {
		return nil, fmt.Errorf("not %d hexadecimal digits in lower case", 2*size)
	}
	return hex.DecodeString(text)
}

// Verify checks the signature against the key.
func (s Signature) Verify(key *rsa.PublicKey) error {
	if s.RSA == nil {
		return errors.New("is not signed")
	}
	return rsa.VerifyPKCS1v15(key, crypto.SHA256, s.SHA256[:], s.RSA)
}

// PublicKey reads a public key in PEM, as "openssl rsa -pubout" writes it.
func PublicKey(text []byte) (*rsa.PublicKey, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("no PEM block")
	}
	var key any
	var err error
	switch block.Type {
	case "PUBLIC KEY":
		key, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		key, err = x509.ParsePKCS1PublicKey(block.Bytes)
	default:
		return nil, fmt.Errorf("a %s, not a public key", strings.ToLower(block.Type))
	}
	if err != nil {
		return nil, err
	}
	public, ok := key.(*rsa.PublicKey)
	if !ok || public.N.BitLen() != keyBits {
		return nil, fmt.Errorf("not an RSA key of %d bits, the only kind that the bootloader knows", keyBits)
	}
	return public, nil
}

// PrivateKey reads a private key in PEM without a passphrase.
func PrivateKey(text []byte) (*rsa.PrivateKey, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("no PEM block")
	}
	var key any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	default:
		return nil, fmt.Errorf("a %s, not a private key without a passphrase", strings.ToLower(block.Type))
	}
	if err != nil {
		return nil, errors.New("no private key") // and never a part of it
	}
	private, ok := key.(*rsa.PrivateKey)
	if !ok || private.N.BitLen() != keyBits {
		return nil, fmt.Errorf("not an RSA key of %d bits, the only kind that the bootloader knows", keyBits)
	}
	return private, nil
}

// Sign signs a SHA-256.
func Sign(key *rsa.PrivateKey, sum [32]byte) ([]byte, error) {
	return rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:])
}
