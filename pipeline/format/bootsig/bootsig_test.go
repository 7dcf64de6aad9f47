package bootsig_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"piimg/pipeline/format/bootsig"
)

func TestOpensslVerifies(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := func(name string, b []byte) string {
		t.Helper()
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	content := []byte("not really a ramdisk")
	sum := sha256.Sum256(content)
	sig, err := bootsig.Sign(key, sum)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	out, err := exec.Command("openssl", "dgst", "-sha256", "-verify", file("key", public), "-signature", file("sig", sig), file("content", content)).CombinedOutput()
	if err != nil {
		t.Errorf("openssl: %v: %s", err, out)
	}
	text := bootsig.Signature{SHA256: sum, Time: 1734010524, RSA: sig}.Text()
	if len(text) != 602 || !strings.Contains(text, "\nts: 1734010524\nrsa2048: ") { // as usbboot's own sample
		t.Errorf("%d bytes:\n%s", len(text), text)
	}
	read, err := bootsig.Parse(text)
	if err != nil || read.Time != 1734010524 {
		t.Fatalf("%+v, %v", read, err)
	}
	pub, err := bootsig.PublicKey(public)
	if err != nil || read.Verify(pub) != nil {
		t.Errorf("verify: %v, %v", err, read.Verify(pub))
	}
	read.RSA[9] ^= 1
	if read.Verify(pub) == nil {
		t.Error("a damaged signature is good")
	}
}

func TestKeysThatNoBootloaderKnows(t *testing.T) {
	for name, argv := range map[string][]string{
		"4096 bits": {"genrsa", "4096"}, "curve": {"ecparam", "-genkey", "-noout", "-name", "prime256v1"}, "passphrase": {"genrsa", "-aes128", "-passout", "pass:secret", "2048"},
	} {
		text, err := exec.Command("openssl", argv...).Output()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := bootsig.PrivateKey(text); err == nil {
			t.Errorf("%s: taken", name)
		}
		if _, err := bootsig.PublicKey(text); err == nil {
			t.Errorf("%s: taken for a public key", name)
		}
	}
}

func TestMalformed(t *testing.T) {
	sum := strings.Repeat("ab", 32)
	for _, text := range []string{
		"", sum, sum + "\n", sum + "\nts: 1", strings.ToUpper(sum) + "\nts: 1\n", sum[1:] + "\nts: 1\n",
		sum + "\nts: x\n", sum + "\nrsa2048: abcd\n", sum + "\r\nts: 1\r\n", sum + "\nother: 1\n",
	} {
		if s, err := bootsig.Parse(text); err == nil {
			t.Errorf("%q is read as %+v", text, s)
		}
	}
	if s, err := bootsig.Parse(sum + "\nts: 5\n"); err != nil || s.RSA != nil || s.Verify(nil) == nil {
		t.Errorf("unsigned: %+v, %v", s, err)
	}
}
