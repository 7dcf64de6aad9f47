package simpi

import (
	"bytes"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/netip"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pin/tftp/v3"
)

// tftpServer is a well-behaved server over a map of files, for whole boots.
type tftpServer struct {
	server *tftp.Server
	conn   *net.UDPConn
	done   chan error

	mu    sync.Mutex
	files map[string][]byte
}

// newTFTP serves files, whose names hold the prefix. options change the server.
func newTFTP(t testing.TB, files map[string][]byte, options ...func(*tftp.Server)) *tftpServer {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	s := &tftpServer{conn: conn, done: make(chan error, 1), files: maps.Clone(files)}
	s.server = tftp.NewServer(s.read, nil)
	s.server.SetTimeout(20 * time.Second) // a block that comes twice is a problem of the report
	for _, o := range options {
		o(s.server)
	}
	go func() { s.done <- s.server.Serve(conn) }()
	t.Cleanup(s.stop)
	return s
}

func (s *tftpServer) stop() {
	s.server.Shutdown()
	<-s.done
	s.done <- nil // a second stop does not wait
}

func (s *tftpServer) addr() netip.AddrPort { return s.conn.LocalAddr().(*net.UDPAddr).AddrPort() }

func (s *tftpServer) read(name string, rf io.ReaderFrom) error {
	s.mu.Lock()
	data, ok := s.files[strings.TrimPrefix(path.Clean("/"+name), "/")]
	s.mu.Unlock()
	if !ok {
		return fs.ErrNotExist
	}
	rf.(tftp.OutgoingTransfer).SetSize(int64(len(data)))
	_, err := rf.ReadFrom(bytes.NewReader(data))
	return err
}

// replace changes what is served, in the middle of a boot.
func (s *tftpServer) replace(files map[string][]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files = maps.Clone(files)
}
