// Package s3test runs real S3 servers for tests, each a process of its own on loopback. They
// are Go modules with a go.mod of their own below testdata, so that the program does not
// depend on them; the go command builds and keeps them.
package s3test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"piimg/store/s3"
)

// Server is a running server.
type Server struct {
	Kind           string // "versitygw" or "minio"
	Endpoint       string // http://127.0.0.1:port
	Access, Secret string

	buckets atomic.Int64
	root    string // that holds the buckets as folders
	cmd     *exec.Cmd
	args    []string
	env     []string
}

// Domain is whose subdomains the servers take for their buckets. Nothing resolves it: reach it
// through a proxy.
const Domain = "s3.test"

// kinds are how servers are started.
var kinds = map[string]func(s *Server, address string){
	"versitygw": func(s *Server, address string) {
		s.args = []string{"--quiet", "--access", s.Access, "--secret", s.Secret, "--port", address, "--virtual-domain", Domain, "posix", s.root}
	},
	"minio": func(s *Server, address string) {
		s.args = []string{"server", "--config-dir", s.root + "-config", "--address", address, s.root}
		s.env = []string{"MINIO_ROOT_USER=" + s.Access, "MINIO_ROOT_PASSWORD=" + s.Secret, "MINIO_DOMAIN=" + Domain, "MINIO_BROWSER=off", "MINIO_UPDATE=off"}
	},
}

// Start starts the server that PIIMG_S3_SERVER names, versitygw where it names none. It ends
// with the test.
func Start(t testing.TB) *Server {
	t.Helper()
	kind := os.Getenv("PIIMG_S3_SERVER")
	if kind == "" {
		kind = "versitygw"
	}
	setup, ok := kinds[kind]
	if !ok {
		t.Fatalf("PIIMG_S3_SERVER=%s is no server that tests know", kind)
	}
	address := FreeAddress(t, "tcp")
	s := &Server{
		Kind: kind, Endpoint: "http://" + address, Access: "piimgtest", Secret: "canary-secret-0123456789",
		root: filepath.Join(t.TempDir(), "buckets"),
	}
	if err := os.Mkdir(s.root, 0o755); err != nil {
		t.Fatal(err)
	}
	setup(s, address)
	s.run(t)
	t.Cleanup(func() { s.Stop(t) })
	return s
}

// builds are the servers as binaries. The go command keeps them too, and takes a moment to
// say so each time.
var builds = map[string]func() (string, error){
	"versitygw": sync.OnceValues(func() (string, error) { return build("versitygw") }),
	"minio":     sync.OnceValues(func() (string, error) { return build("minio") }),
}

// binary builds a server, or finds what was built before.
func binary(t testing.TB, kind string) string {
	t.Helper()
	path, err := builds[kind]()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func build(kind string) (string, error) {
	dir, err := exec.Command("go", "list", "-f", "{{.Dir}}", "piimg/store/s3").Output()
	if err != nil {
		return "", err
	}
	cmd := exec.Command("go", "tool", "-n", kind)
	cmd.Dir = filepath.Join(strings.TrimSpace(string(dir)), "testdata", kind)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", kind, err, stderr.Bytes())
	}
	return strings.TrimSpace(string(out)), nil
}

// Ports that are chosen before they are used lie below those that the kernel gives away
// (from 32768 on), where somebody else would get them meanwhile. Each process begins
// somewhere else.
const (
	firstPort = 20_000
	blocks    = 96
	block     = 128 // ports
)

// handedOut counts the ports of this process.
var handedOut atomic.Int64

// FreeAddress is an address of loopback with a port that nobody listens at; network is
// "tcp" or "udp". No two calls of a process give the same.
func FreeAddress(t testing.TB, network string) string {
	t.Helper()
	for range blocks * block {
		n := int64(os.Getpid()%blocks*block) + handedOut.Add(1)
		address := fmt.Sprintf("127.0.0.1:%d", firstPort+n%(blocks*block))
		if isFree(network, address) {
			return address
		}
	}
	t.Fatal("no port is free")
	return ""
}

func isFree(network, address string) bool {
	var c io.Closer
	var err error
	if network == "udp" {
		c, err = net.ListenPacket(network, address)
	} else {
		c, err = net.Listen(network, address)
	}
	return err == nil && c.Close() == nil
}

// run starts the process and waits until it answers.
func (s *Server) run(t testing.TB) {
	t.Helper()
	s.cmd = exec.Command(binary(t, s.Kind), s.args...)
	s.cmd.Env = append(os.Environ(), s.env...)
	var log bytes.Buffer
	s.cmd.Stdout, s.cmd.Stderr = &log, &log
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	for ctx.Err() == nil {
		if r, err := http.Get(s.Endpoint); err == nil {
			r.Body.Close()
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
	s.Stop(t)
	t.Fatalf("%s does not answer:\n%s", s.Kind, log.Bytes())
}

// Folder is where the server keeps what it stores.
func (s *Server) Folder() string { return s.root }

// Stop ends the process, as a crash would.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
	s.cmd = nil
}

// Restart starts a server that was stopped, with what it had stored.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	s.run(t)
}

// NewBucket makes an empty bucket and answers its name.
func (s *Server) NewBucket(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("bucket-%d", s.buckets.Add(1))
	if err := s.make(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	return name
}

// Env is the environment that holds the server's keys.
func (s *Server) Env(name string) string {
	return map[string]string{"AWS_ACCESS_KEY_ID": s.Access, "AWS_SECRET_ACCESS_KEY": s.Secret}[name]
}

// Location is how a bucket is named on a command line; endpoint may be that of a proxy in
// front of the server.
func (s *Server) Location(bucket, prefix, endpoint string) string {
	return "s3://" + bucket + "/" + prefix + "?endpoint=" + url.QueryEscape(endpoint)
}

// Config is a bucket on the server, reached through endpoint.
func (s *Server) Config(t testing.TB, bucket, endpoint string) s3.Config {
	t.Helper()
	c, err := s3.Parse(s.Location(bucket, "pre/fix", endpoint), s.Env)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Open is a new bucket on the server.
func (s *Server) Open(t testing.TB) *s3.Bucket {
	t.Helper()
	b, err := s3.Open(s.Config(t, s.NewBucket(t), s.Endpoint))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
