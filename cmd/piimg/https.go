package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"piimg/cmd/piimg/config"
)

// certificate is a certificate in two files, which is read again when they change: whoever
// renews it need not restart anything. It is safe for concurrent use.
type certificate struct {
	cert, key string

	mu      sync.Mutex
	read    tls.Certificate
	changed [2]time.Time // of the files that were read
}

// httpsConfig serves the certificate of a configuration, and is nil where HTTPS is off.
func httpsConfig(c config.Serve) (*tls.Config, error) {
	switch {
	case c.HTTPS == "" && c.Handover > 0:
		return nil, hint(usageError{errors.New("handover is for HTTPS alone, which is off")}, "--https :8443 --cert server.pem --key server.key")
	case c.HTTPS == "":
		return nil, nil
	case c.Cert == "" || c.Key == "":
		return nil, hint(usageError{errors.New("HTTPS needs a certificate and its key")}, "--https :8443 --cert server.pem --key server.key")
	}
	return tlsConfig(c.Cert, c.Key)
}

// tlsConfig serves the certificate in those files, which has to be right now.
func tlsConfig(cert, key string) (*tls.Config, error) {
	c := &certificate{cert: cert, key: key}
	if _, err := c.get(nil); err != nil {
		return nil, fmt.Errorf("certificate %s with key %s: %w", cert, key, err)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.get}, nil
}

// get is the certificate of now; while the new files are not whole, that of before.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var now [2]time.Time
	for n, file := range []string{c.cert, c.key} {
		if info, err := os.Stat(file); err == nil {
			now[n] = info.ModTime()
		}
	}
	if now == c.changed {
		return &c.read, nil
	}
	fresh, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err == nil {
		c.read, c.changed = fresh, now
	} else if c.read.Certificate == nil {
		return nil, err
	}
	return &c.read, nil
}
