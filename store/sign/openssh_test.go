package sign_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"piimg/store/sign"
)

const message = "what is signed\n"

// keygen runs the real ssh-keygen.
func keygen(t *testing.T, stdin string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command("ssh-keygen", args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// verifyThere has ssh-keygen check a signature of message.
func verifyThere(t *testing.T, key, namespace, armored string) (string, error) {
	t.Helper()
	dir := t.TempDir()
	allowed := write(t, filepath.Join(dir, "allowed"), `alice namespaces="`+namespace+`" `+key+"\n")
	sig := write(t, filepath.Join(dir, "sig"), armored)
	return keygen(t, message, "-Y", "verify", "-f", allowed, "-I", "alice", "-n", namespace, "-s", sig)
}

func noPassphrase() ([]byte, error) { return nil, errors.New("nobody is there to ask") }

func passphrase(text string) func() ([]byte, error) {
	return func() ([]byte, error) { return []byte(text), nil }
}

// TestOurSignatures: what is signed here holds for ssh-keygen, and is what it would have
// made, to the byte. So does the key that is made here.
func TestOurSignatures(t *testing.T) {
	for name, pass := range map[string]string{"plain": "", "encrypted": "a passphrase"} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "key")
			key := must(sign.Create(file, "alice@rack", []byte(pass)))(t)
			ask := noPassphrase
			if pass != "" {
				ask = passphrase(pass)
			}
			signer := must(sign.Open(t.Context(), file, "", ask))(t)
			sig := must(signer.Sign(t.Context(), sign.ImageNamespace, []byte(message)))(t)
			if sig.KeyID != key.ID() || signer.Key().String() != key.String() {
				t.Errorf("signed by %s, made %s", sig.KeyID, key.ID())
			}
			if out, err := verifyThere(t, key.String(), sign.ImageNamespace, sig.SSHSig); err != nil {
				t.Errorf("ssh-keygen: %v: %s", err, out)
			}
			if out, err := verifyThere(t, key.String(), sign.EnvNamespace, sig.SSHSig); err == nil {
				t.Errorf("ssh-keygen takes it in another namespace: %s", out)
			}
			if out, err := keygen(t, "", "-l", "-f", file); err != nil || !strings.Contains(out, key.ID()+" alice@rack (ED25519)") {
				t.Errorf("ssh-keygen -l: %v: %s", err, out)
			}
			if out, err := keygen(t, "", "-y", "-P", pass, "-f", file); err != nil || !strings.HasPrefix(out, key.String()) {
				t.Errorf("ssh-keygen -y: %v: %s", err, out)
			}
			if pass == "" {
				out := must(keygen(t, message, "-Y", "sign", "-q", "-f", file, "-n", sign.ImageNamespace))(t)
				if !strings.HasSuffix(out, sig.SSHSig) {
					t.Errorf("ssh-keygen signs otherwise:\n%s\nhere it is\n%s", out, sig.SSHSig)
				}
			}
		})
	}
}

// TestTheirSignatures: what ssh-keygen signs with keys that it made holds here.
func TestTheirSignatures(t *testing.T) {
	for _, pass := range []string{"", "their passphrase"} {
		dir := t.TempDir()
		file := filepath.Join(dir, "id")
		must(keygen(t, "", "-q", "-t", "ed25519", "-N", pass, "-C", "bob", "-f", file))(t)
		key, _, err := sign.ParsePublic(string(must(os.ReadFile(file + ".pub"))(t)))
		if err != nil {
			t.Fatal(err)
		}
		signer := must(sign.Open(t.Context(), file, "", passphrase(pass)))(t)
		if signer.Key().ID() != key.ID() {
			t.Errorf("opened %s, it is %s", signer.Key().ID(), key.ID())
		}
		if public, _, err := sign.Public(file); err != nil || public.ID() != key.ID() {
			t.Errorf("Public(%s) = %v, %v", file, public, err)
		}
		if pass != "" {
			continue // ssh-keygen asks a terminal for it
		}
		for _, hash := range []string{"sha256", "sha512"} {
			text := write(t, filepath.Join(dir, hash), message)
			must(keygen(t, "", "-Y", "sign", "-q", "-O", "hashalg="+hash, "-f", file, "-n", sign.TrustNamespace, text))(t)
			armored := string(must(os.ReadFile(text + ".sig"))(t))
			if got, err := sign.Verify(armored, sign.TrustNamespace, []byte(message)); err != nil || got.ID() != key.ID() {
				t.Errorf("%s: %v, %v", hash, got, err)
			}
			if _, err := sign.Verify(armored, sign.TrustNamespace, []byte("other")); err == nil {
				t.Errorf("%s: holds for another text", hash)
			}
		}
	}
}

// TestOtherKeyTypes: RSA and ECDSA are refused by name, as keys and in signatures.
func TestOtherKeyTypes(t *testing.T) {
	for _, kind := range []string{"rsa", "ecdsa"} {
		dir := t.TempDir()
		file := filepath.Join(dir, "id")
		must(keygen(t, "", "-q", "-t", kind, "-N", "", "-f", file))(t)
		_, err := sign.Open(t.Context(), file, "", noPassphrase)
		wantError(t, err, "only Ed25519 keys are taken")
		_, err = sign.Open(t.Context(), file+".pub", "", noPassphrase)
		wantError(t, err, "neither a private nor a public SSH key")
		text := write(t, filepath.Join(dir, "text"), message)
		must(keygen(t, "", "-Y", "sign", "-q", "-f", file, "-n", sign.ImageNamespace, text))(t)
		_, err = sign.Verify(string(must(os.ReadFile(text+".sig"))(t)), sign.ImageNamespace, []byte(message))
		wantError(t, err, "only Ed25519 keys are taken")
	}
}

func wantError(t *testing.T, err error, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("error = %v; want %q in it", err, text)
		}
	}
}

// startAgent runs a real ssh-agent with the keys of some files.
func startAgent(t *testing.T, files ...string) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "agent")
	cmd := exec.Command("ssh-agent", "-D", "-a", socket)
	out := must(cmd.StdoutPipe())(t)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if _, err := out.Read(make([]byte, 1)); err != nil { // it says where it listens
		t.Fatal(err)
	}
	for _, file := range files {
		add := exec.Command("ssh-add", "-q", file)
		add.Env = append(os.Environ(), "SSH_AUTH_SOCK="+socket)
		if out, err := add.CombinedOutput(); err != nil {
			t.Fatalf("ssh-add: %v: %s", err, out)
		}
	}
	return socket
}

// TestAgent: a public key names a key of the agent.
func TestAgent(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	key := must(sign.Create(file, "", nil))(t)
	other := file + "2"
	must(sign.Create(other, "", nil))(t)
	socket := startAgent(t, file)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	signer := must(sign.Open(t.Context(), file+".pub", socket, noPassphrase))(t)
	sig := must(signer.Sign(t.Context(), sign.EnvNamespace, []byte(message)))(t)
	if out, err := verifyThere(t, key.String(), sign.EnvNamespace, sig.SSHSig); err != nil {
		t.Errorf("ssh-keygen: %v: %s", err, out)
	}
	_, err := sign.Open(t.Context(), other+".pub", socket, noPassphrase)
	wantError(t, err, "the agent does not have the key SHA256:", "ssh-add it")
	_, err = sign.Open(t.Context(), other+".pub", "", noPassphrase)
	wantError(t, err, "SSH_AUTH_SOCK is not set")
	_, err = sign.Open(t.Context(), other+".pub", file+".none", noPassphrase)
	wantError(t, err, "reach the agent")
}

// token is an agent with a key of a security token, which there is none of here: it signs
// as PROTOCOL.u2f says.
type token struct {
	agent.Agent
	private ed25519.PrivateKey
	flags   byte
	waits   chan struct{} // closed when Sign may go on
}

const application = "ssh:piimg"

func newToken(t *testing.T, flags byte) *token {
	t.Helper()
	waits := make(chan struct{})
	close(waits)
	return &token{agent.NewKeyring(), ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize)), flags, waits}
}

func (k *token) public() ssh.PublicKey {
	wire := ssh.Marshal(struct {
		Type, Key   string
		Application string
	}{ssh.KeyAlgoSKED25519, string(k.private.Public().(ed25519.PublicKey)), application})
	key, err := ssh.ParsePublicKey(wire)
	if err != nil {
		panic(err)
	}
	return key
}

func (k *token) List() ([]*agent.Key, error) {
	return []*agent.Key{{Format: ssh.KeyAlgoSKED25519, Blob: k.public().Marshal()}}, nil
}

func (k *token) Sign(_ ssh.PublicKey, data []byte) (*ssh.Signature, error) {
	<-k.waits
	app, text := sha256.Sum256([]byte(application)), sha256.Sum256(data)
	rest := ssh.Marshal(struct {
		Flags   byte
		Counter uint32
	}{k.flags, 41})
	signed := append(append(append([]byte{}, app[:]...), rest...), text[:]...)
	return &ssh.Signature{Format: ssh.KeyAlgoSKED25519, Blob: ed25519.Sign(k.private, signed), Rest: rest}, nil
}

func (k *token) serve(t *testing.T) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "agent")
	l := must(net.Listen("unix", socket))(t)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_ = agent.ServeAgent(k, conn)
			}()
		}
	}()
	return socket
}

// TestToken: a token's signature holds here and for ssh-keygen, if it was touched.
func TestToken(t *testing.T) {
	k := newToken(t, 1)
	file := write(t, filepath.Join(t.TempDir(), "key.pub"), string(ssh.MarshalAuthorizedKey(k.public())))
	socket := k.serve(t)
	signer := must(sign.Open(t.Context(), file, socket, noPassphrase))(t)
	sig := must(signer.Sign(t.Context(), sign.EnvNamespace, []byte(message)))(t)
	if key, err := sign.Verify(sig.SSHSig, sign.EnvNamespace, []byte(message)); err != nil || key.ID() != signer.Key().ID() {
		t.Errorf("Verify = %v, %v", key, err)
	}
	if out, err := verifyThere(t, signer.Key().String(), sign.EnvNamespace, sig.SSHSig); err != nil {
		t.Errorf("ssh-keygen: %v: %s", err, out)
	}
	k.flags = 0
	_, err := signer.Sign(t.Context(), sign.EnvNamespace, []byte(message))
	wantError(t, err, "made a signature that does not hold")
}

// TestTokenThatNobodyTouches: waiting ends with the context.
func TestTokenThatNobodyTouches(t *testing.T) {
	k := newToken(t, 1)
	k.waits = make(chan struct{})
	defer close(k.waits)
	file := write(t, filepath.Join(t.TempDir(), "key.pub"), string(ssh.MarshalAuthorizedKey(k.public())))
	signer := must(sign.Open(t.Context(), file, k.serve(t), noPassphrase))(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := signer.Sign(ctx, sign.EnvNamespace, []byte(message)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Sign = %v; want the end of the context", err)
	}
}

// raw is a signature by a plain key with any of its parts changed.
func raw(change func(*wire)) string {
	private := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{9}, ed25519.SeedSize))
	digest := sha512.Sum512([]byte(message))
	w := wire{Version: 1, Namespace: sign.EnvNamespace, Hash: "sha512", Key: key{"ssh-ed25519", string(private.Public().(ed25519.PublicKey))}}
	w.sign = func(w *wire) {
		text := append([]byte("SSHSIG"), ssh.Marshal(struct{ Namespace, Reserved, Hash, Digest string }{w.Namespace, w.Reserved, w.Hash, string(digest[:])})...)
		w.Sig = ssh.Marshal(ssh.Signature{Format: "ssh-ed25519", Blob: ed25519.Sign(private, text)})
	}
	w.sign(&w)
	change(&w)
	doc := append([]byte("SSHSIG"), ssh.Marshal(struct {
		Version                   uint32
		Key                       []byte
		Namespace, Reserved, Hash string
		Sig                       []byte
	}{w.Version, ssh.Marshal(w.Key), w.Namespace, w.Reserved, w.Hash, w.Sig})...)
	doc = append(doc, w.tail...)
	return "-----BEGIN SSH SIGNATURE-----\n" + base64.StdEncoding.EncodeToString(doc) + "\n-----END SSH SIGNATURE-----\n"
}

type key struct{ Type, Key string }

type wire struct {
	Version                   uint32
	Key                       key
	Namespace, Reserved, Hash string
	Sig                       []byte
	tail                      string
	sign                      func(*wire)
}

func TestVerifyRefuses(t *testing.T) {
	if _, err := sign.Verify(raw(func(w *wire) {}), sign.EnvNamespace, []byte(message)); err != nil {
		t.Fatalf("the plain one: %v", err)
	}
	if _, err := sign.Verify(raw(func(w *wire) { w.Reserved = "later"; w.sign(w) }), sign.EnvNamespace, []byte(message)); err != nil {
		t.Errorf("reserved text that is signed: %v", err)
	}
	tests := []struct {
		name, armored, want string
	}{
		{"empty", "", "not an SSH signature"},
		{"no end", "-----BEGIN SSH SIGNATURE-----\nAAAA\n", "not an SSH signature"},
		{"no base64", "-----BEGIN SSH SIGNATURE-----\n%\n-----END SSH SIGNATURE-----", "damaged body"},
		{"no magic", "-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----", "damaged body"},
		{"too long", "-----BEGIN SSH SIGNATURE-----\n" + strings.Repeat("A", 20000) + "-----END SSH SIGNATURE-----", "longer than"},
		{"version", raw(func(w *wire) { w.Version = 2 }), "version 2, not 1"},
		{"namespace", raw(func(w *wire) { w.Namespace = "git"; w.sign(w) }), `is for "git", not piimg-env@v1`},
		{"namespace not signed", raw(func(w *wire) { w.Namespace = "git"; w.sign(w); w.Namespace = sign.EnvNamespace }), "does not hold"},
		{"reserved not signed", raw(func(w *wire) { w.Reserved = "x" }), "does not hold"},
		{"hash", raw(func(w *wire) { w.Hash = "md5"; w.sign(w) }), `by way of "md5"`},
		{"other hash", raw(func(w *wire) { w.Hash = "sha256" }), "does not hold"},
		{"signature", raw(func(w *wire) { w.Sig[len(w.Sig)-1] ^= 1 }), "does not hold"},
		{"short signature", raw(func(w *wire) { w.Sig = ssh.Marshal(ssh.Signature{Format: "ssh-ed25519", Blob: []byte("x")}) }), "does not hold"},
		{"format of signature", raw(func(w *wire) { w.Sig = ssh.Marshal(ssh.Signature{Format: "ssh-rsa", Blob: make([]byte, 64)}) }), "does not hold"},
		{"no signature", raw(func(w *wire) { w.Sig = nil }), "damaged body"},
		{"short key", raw(func(w *wire) { w.Key.Key = "x" }), "damaged public SSH key"},
		{"type of key", raw(func(w *wire) { w.Key.Type = "ssh-ed448" }), "damaged public SSH key"},
		{"tail", raw(func(w *wire) { w.tail = "x" }), "damaged body"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := sign.Verify(tt.armored, sign.EnvNamespace, []byte(message))
			wantError(t, err, tt.want)
		})
	}
}

// TestKeysStaySecret: errors about key files say nothing of what is in them.
func TestKeysStaySecret(t *testing.T) {
	const canary = "canary0123456789"
	dir := t.TempDir()
	locked := filepath.Join(dir, "locked")
	must(sign.Create(locked, "", []byte(canary)))(t)
	open := filepath.Join(dir, "open")
	must(sign.Create(open, "", nil))(t)
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, file string
		ask        func() ([]byte, error)
		want       string
	}{
		{"wrong passphrase", locked, passphrase(canary + "x"), "the passphrase is wrong"},
		{"nobody to ask", locked, noPassphrase, "unlock " + locked + ": nobody is there to ask"},
		{"readable by others", open, noPassphrase, "chmod 600"},
		{"damaged", write(t, filepath.Join(dir, "damaged"), "-----BEGIN OPENSSH PRIVATE KEY-----\n"+base64.StdEncoding.EncodeToString([]byte(canary))+"\n-----END OPENSSH PRIVATE KEY-----\n"), noPassphrase, "cannot be read"},
		{"text", write(t, filepath.Join(dir, "text"), canary+"\n"), noPassphrase, "neither a private nor a public SSH key"},
		{"no base64", write(t, filepath.Join(dir, "line"), "ssh-ed25519 "+canary+"\n"), noPassphrase, "neither a private nor a public SSH key"},
		{"missing", filepath.Join(dir, "none"), noPassphrase, "no such file"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := sign.Open(t.Context(), tt.file, "", tt.ask)
			wantError(t, err, tt.want)
			if err != nil && (strings.Contains(err.Error(), canary) || strings.Contains(err.Error(), base64.StdEncoding.EncodeToString([]byte(canary)))) {
				t.Errorf("the error tells: %v", err)
			}
		})
	}
	_, err := sign.Create(open, "", nil)
	wantError(t, err, "is there already")
}

func FuzzVerify(f *testing.F) {
	f.Add(raw(func(w *wire) {}))
	f.Add(raw(func(w *wire) { w.Sig = nil; w.tail = "x" }))
	f.Add("-----BEGIN SSH SIGNATURE-----\n-----END SSH SIGNATURE-----")
	good := raw(func(w *wire) {})
	f.Fuzz(func(t *testing.T, armored string) {
		key, err := sign.Verify(armored, sign.EnvNamespace, []byte(message))
		if err != nil {
			return
		}
		// Nobody but the holder of the key can make one that holds: it is the same one,
		// in another spelling of its armor.
		body := func(s string) string {
			s = strings.TrimSpace(s)
			s = strings.TrimPrefix(s, "-----BEGIN SSH SIGNATURE-----")
			return strings.Join(strings.Fields(strings.TrimSuffix(s, "-----END SSH SIGNATURE-----")), "")
		}
		if body(armored) != body(good) {
			t.Errorf("a signature by %s that nobody made holds: %s", key.ID(), armored)
		}
	})
}
