package s3

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"

	"piimg/store"
)

// Config is where a bucket is and how it is reached.
type Config struct {
	Bucket   string
	Prefix   string   // of all keys, without slashes at its ends; may be empty
	Endpoint *url.URL // scheme and host
	Region   string
	Style    string        // of URLs: "path", "virtual", or "" for what fits the endpoint
	CA       string        // file of PEM certificates in the place of the system's; may be empty
	Keys     Keys          // who signs
	Idle     time.Duration // how long a connection may stand still; 0 is 30 s
	Retry    Retry
}

// Form is how a location is written.
const Form = "s3://bucket/prefix?endpoint=https://host&region=name"

// params are the keys of a location's query.
var params = []string{"alias", "ca", "credentials", "endpoint", "profile", "region", "style"}

// Parse makes a Config of a location and of what the environment says, by the conventions
// of the AWS command line: AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL, AWS_REGION or
// AWS_DEFAULT_REGION, AWS_CA_BUNDLE, AWS_PROFILE with the shared files, and for alias=NAME
// MC_HOST_NAME as mc has it. What the location says itself counts first.
func Parse(location string, env func(string) string) (Config, error) {
	u, err := url.Parse(location)
	if err != nil {
		return Config{}, errors.Unwrap(err) // which does not repeat the location
	}
	switch {
	case u.User != nil:
		return Config{}, errors.New("keys do not belong into a location: use AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or MC_HOST_<alias>")
	case u.Scheme != "s3" || u.Host == "" || u.Fragment != "":
		return Config{}, fmt.Errorf("an S3 location is written %s", Form)
	}
	q, err := query(u)
	if err != nil {
		return Config{}, err
	}
	c := Config{Bucket: u.Host, Prefix: strings.Trim(u.Path, "/"), Style: q["style"]}
	if c.Prefix != "" && store.CheckKey(c.Prefix) != nil {
		return Config{}, fmt.Errorf("prefix %q is not made of lower-case letters, digits, dots, dashes and slashes", c.Prefix)
	}
	if !slices.Contains([]string{"", "path", "virtual"}, c.Style) {
		return Config{}, fmt.Errorf("style=%s is neither path nor virtual", c.Style)
	}
	shared, err := readShared(q["profile"], env)
	if err != nil {
		return Config{}, err
	}
	alias, err := readAlias(q["alias"], env)
	if err != nil {
		return Config{}, err
	}
	c.CA = first(q["ca"], env("AWS_CA_BUNDLE"))
	c.Region = first(q["region"], env("AWS_REGION"), env("AWS_DEFAULT_REGION"), shared.region)
	if c.Keys, err = keysOf(q["credentials"], q["profile"], alias, env); err != nil {
		return Config{}, err
	}
	return c, c.setEndpoint(first(q["endpoint"], alias.endpoint, env("AWS_ENDPOINT_URL_S3"), env("AWS_ENDPOINT_URL"), shared.endpoint))
}

func query(u *url.URL) (map[string]string, error) {
	values, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, err
	}
	q := map[string]string{}
	for key, v := range values {
		if !slices.Contains(params, key) {
			return nil, fmt.Errorf("%q is none of %s", key, strings.Join(params, ", "))
		}
		if len(v) != 1 || v[0] == "" {
			return nil, fmt.Errorf("%s has to have one value", key)
		}
		q[key] = v[0]
	}
	return q, nil
}

func first(all ...string) string {
	for _, s := range all {
		if s != "" {
			return s
		}
	}
	return ""
}

// setEndpoint takes a URL or a host; AWS itself where there is none.
func (c *Config) setEndpoint(s string) error {
	aws := s == ""
	if aws {
		s = "s3.amazonaws.com"
	}
	if !strings.Contains(s, "://") {
		s = "https://" + s
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http" {
		return errors.New("endpoint is written https://host or http://host:port, and nothing more")
	}
	c.Endpoint = &url.URL{Scheme: u.Scheme, Host: u.Host}
	if c.Region == "" && !aws && !strings.HasSuffix(u.Hostname(), ".amazonaws.com") {
		c.Region = "us-east-1" // what servers take where nobody has named theirs
	}
	return nil
}

func (c Config) lookup() minio.BucketLookupType {
	switch c.Style {
	case "path":
		return minio.BucketLookupPath
	case "virtual":
		return minio.BucketLookupDNS
	}
	return minio.BucketLookupAuto
}

// idle is how long a connection may stand still.
func (c Config) idle() time.Duration {
	if c.Idle == 0 {
		return 30 * time.Second
	}
	return c.Idle
}

// transport gives connections up that stand still for longer than idle. There is no limit to
// a request as a whole: 4 GB over a slow line take their time.
func (c Config) transport(idle time.Duration) (http.RoundTripper, error) {
	t := &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: watchdog(idle), DisableCompression: true,
		MaxIdleConnsPerHost: 16, IdleConnTimeout: idle / 2, TLSHandshakeTimeout: idle,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
	}
	if c.CA == "" {
		return t, nil
	}
	pem, err := os.ReadFile(c.CA)
	if err != nil {
		return nil, fmt.Errorf("read certificates: %w", err)
	}
	t.TLSClientConfig.RootCAs = x509.NewCertPool()
	if !t.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s has no certificates in PEM", c.CA)
	}
	return t, nil
}
