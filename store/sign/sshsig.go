// Package sign makes and checks signatures in the SSHSIG format, as ssh-keygen -Y and
// ssh-agent speak it, and says whose count: the trust file. Keys are Ed25519, in files, in
// an agent or in a token behind one.
//
// The format is OpenSSH's PROTOCOL.sshsig. Only what piimg needs of it is here: Ed25519
// keys (ssh-ed25519, sk-ssh-ed25519@openssh.com), SHA-256 and SHA-512.
package sign

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"
)

// The namespaces keep a signature of one kind from being taken for one of another.
const (
	ImageNamespace = "piimg-image@v1" // over the manifest of an image
	EnvNamespace   = "piimg-env@v1"   // over the payload of a log entry
	TrustNamespace = "piimg-trust@v1" // over the payload of a version of the trust file
)

const (
	magic      = "SSHSIG"
	sigVersion = 1
	beginSig   = "-----BEGIN SSH SIGNATURE-----"
	endSig     = "-----END SSH SIGNATURE-----"
	lineLen    = 70 // of base64, as ssh-keygen breaks lines
	maxSigLen  = 16 << 10
)

// blob is the signature's binary form, after the magic.
type blob struct {
	Version   uint32
	PublicKey []byte
	Namespace string
	Reserved  string // has no meaning yet, and is signed
	Hash      string
	Signature []byte
}

// signedText is what a key signs, after the magic.
type signedText struct {
	Namespace string
	Reserved  string
	Hash      string
	Digest    []byte
}

// text is what a key signs of message.
func (b blob) text(message []byte) ([]byte, error) {
	var digest []byte
	switch b.Hash {
	case "sha256":
		d := sha256.Sum256(message)
		digest = d[:]
	case "sha512":
		d := sha512.Sum512(message)
		digest = d[:]
	default:
		return nil, fmt.Errorf("signature by way of %q, neither sha256 nor sha512", b.Hash)
	}
	return append([]byte(magic), ssh.Marshal(signedText{b.Namespace, b.Reserved, b.Hash, digest})...), nil
}

// makeSig has sign sign message, and returns the armored signature.
func makeSig(key PublicKey, namespace string, message []byte, sign func(text []byte) (*ssh.Signature, error)) (string, error) {
	b := blob{Version: sigVersion, PublicKey: key.ssh.Marshal(), Namespace: namespace, Hash: "sha512"}
	text, err := b.text(message)
	if err != nil {
		return "", err
	}
	sig, err := sign(text)
	if err != nil {
		return "", err
	}
	b.Signature = ssh.Marshal(sig)
	armored := b.armor()
	// An agent is another program: what nobody could verify must not be stored.
	if _, err := Verify(armored, namespace, message); err != nil {
		return "", fmt.Errorf("key %s made a signature that does not hold: %w", key.ID(), err)
	}
	return armored, nil
}

func (b blob) armor() string {
	var t strings.Builder
	t.WriteString(beginSig + "\n")
	text := base64.StdEncoding.EncodeToString(append([]byte(magic), ssh.Marshal(b)...))
	for len(text) > lineLen {
		t.WriteString(text[:lineLen] + "\n")
		text = text[lineLen:]
	}
	t.WriteString(text + "\n" + endSig + "\n")
	return t.String()
}

// parseSig reads an armored signature and its key.
func parseSig(armored string) (blob, PublicKey, error) {
	if len(armored) > maxSigLen {
		return blob{}, PublicKey{}, fmt.Errorf("a signature of %d bytes is longer than %d", len(armored), maxSigLen)
	}
	body, ok := strings.CutPrefix(strings.TrimSpace(armored), beginSig)
	body, end := strings.CutSuffix(body, endSig)
	if !ok || !end {
		return blob{}, PublicKey{}, errors.New("not an SSH signature")
	}
	doc, err := base64.StdEncoding.Strict().DecodeString(strings.Join(strings.Fields(body), ""))
	if err != nil {
		return blob{}, PublicKey{}, errors.New("an SSH signature with a damaged body")
	}
	wire, ok := strings.CutPrefix(string(doc), magic)
	var b blob
	if err := ssh.Unmarshal([]byte(wire), &b); err != nil || !ok {
		return blob{}, PublicKey{}, errors.New("an SSH signature with a damaged body")
	}
	if b.Version != sigVersion {
		return blob{}, PublicKey{}, fmt.Errorf("an SSH signature of version %d, not %d", b.Version, sigVersion)
	}
	key, err := parseWire(b.PublicKey)
	return b, key, err
}

// Verify checks that armored is a signature over message in namespace, and returns the key
// that made it. Whether that key counts is another question: see [Trust].
func Verify(armored, namespace string, message []byte) (PublicKey, error) {
	b, key, err := parseSig(armored)
	if err != nil {
		return PublicKey{}, err
	}
	if b.Namespace != namespace {
		return PublicKey{}, fmt.Errorf("signature by %s is for %q, not %s", key.ID(), b.Namespace, namespace)
	}
	text, err := b.text(message)
	if err != nil {
		return PublicKey{}, err
	}
	var sig ssh.Signature
	if err := ssh.Unmarshal(b.Signature, &sig); err != nil {
		return PublicKey{}, errors.New("an SSH signature with a damaged body")
	}
	// Verify of a token's key wants to know that somebody touched it.
	if err := key.ssh.Verify(text, &sig); err != nil {
		return PublicKey{}, fmt.Errorf("signature by %s does not hold for this content", key.ID())
	}
	return key, nil
}
