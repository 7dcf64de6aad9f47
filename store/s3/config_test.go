package s3_test

import (
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"piimg/store"
	"piimg/store/s3"
	"piimg/store/s3/s3test"
)

// shown is what a test compares of a Config.
func shown(c s3.Config) string {
	return fmt.Sprintf("%s/%s %s region=%s style=%s ca=%s, %v", c.Bucket, c.Prefix, c.Endpoint, c.Region, c.Style, c.CA, c.Keys)
}

// home writes the shared files of AWS into a new home folder.
func home(t *testing.T, config, credentials string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, ".aws"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"config": config, "credentials": credentials} {
		if err := os.WriteFile(filepath.Join(dir, ".aws", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestParse(t *testing.T) {
	dir := home(t, "[default]\nregion = eu-1\nendpoint_url = https://of-default\n[profile rack]\nregion = eu-2\nendpoint_url = https://of-rack\n", "")
	for _, tt := range []struct {
		name, location string
		env            map[string]string
		want           string
	}{
		{"AWS itself", "s3://b/fleet", nil, "b/fleet https://of-default region=eu-1 style= ca=, keys of profile default"},
		{"no files", "s3://b", map[string]string{"HOME": "/nowhere"}, "b/ https://s3.amazonaws.com region= style= ca=, keys of profile default"},
		{"all in the location", "s3://b/a/c/?endpoint=http://127.0.0.1:9000&region=here&style=path&ca=/ca.pem", nil,
			"b/a/c http://127.0.0.1:9000 region=here style=path ca=/ca.pem, keys of profile default"},
		{"a host is an endpoint", "s3://b?endpoint=s3.example.org&style=virtual", map[string]string{"HOME": "/nowhere"},
			"b/ https://s3.example.org region=us-east-1 style=virtual ca=, keys of profile default"},
		{"variables", "s3://b", map[string]string{"AWS_ENDPOINT_URL": "https://e", "AWS_DEFAULT_REGION": "r", "AWS_CA_BUNDLE": "/ca", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s"},
			"b/ https://e region=r style= ca=/ca, static keys"},
		{"the more special variables", "s3://b", map[string]string{"AWS_ENDPOINT_URL": "https://e", "AWS_ENDPOINT_URL_S3": "https://e3", "AWS_DEFAULT_REGION": "r", "AWS_REGION": "r2"},
			"b/ https://e3 region=r2 style= ca=, keys of profile default"},
		{"a profile by variable", "s3://b", map[string]string{"AWS_PROFILE": "rack"}, "b/ https://of-rack region=eu-2 style= ca=, keys of profile rack"},
		{"keys before a profile by variable", "s3://b", map[string]string{"AWS_PROFILE": "rack", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s"},
			"b/ https://of-rack region=eu-2 style= ca=, static keys"},
		{"a profile in the location before keys", "s3://b?profile=rack", map[string]string{"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s"},
			"b/ https://of-rack region=eu-2 style= ca=, keys of profile rack"},
		{"an alias", "s3://b?alias=lab", map[string]string{"MC_HOST_lab": "https://AK:S/E@C+R:ET@minio:9000/", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s"},
			"b/ https://minio:9000 region=eu-1 style= ca=, static keys"},
		{"roles on request", "s3://b?credentials=instance", nil, "b/ https://of-default region=eu-1 style= ca=, keys of the instance"},
		{"nobody", "s3://b?credentials=anonymous", map[string]string{"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s"}, "b/ https://of-default region=eu-1 style= ca=, no keys"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			env := map[string]string{"HOME": dir}
			for name, value := range tt.env {
				env[name] = value
			}
			c, err := s3.Parse(tt.location, func(name string) string { return env[name] })
			if err != nil || shown(c) != tt.want {
				t.Errorf("Parse = %s, %v;\nwant    %s", shown(c), err, tt.want)
			}
			if all := fmt.Sprintf("%v %+v %#v", c, c, c); strings.Contains(all, "S/E@C") || strings.Contains(all, "AK") {
				t.Errorf("it shows keys: %s", all)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for _, tt := range []struct {
		location string
		env      map[string]string
		want     string
	}{
		{"s3://key:canary@b/x", nil, "keys do not belong into a location"},
		{"s3:b", nil, "an S3 location is written s3://bucket/prefix?"},
		{"s3://b/x#y", nil, "an S3 location is written"},
		{"s3://b/Fleet", nil, `prefix "Fleet" is not made of lower-case letters`},
		{"s3://b/../x", nil, "prefix"},
		{"s3://b?endpiont=x", nil, `"endpiont" is none of alias, ca, credentials, endpoint, profile, region, style`},
		{"s3://b?region=", nil, "region has to have one value"},
		{"s3://b?region=a&region=b", nil, "region has to have one value"},
		{"s3://b?style=dns", nil, "style=dns is neither path nor virtual"},
		{"s3://b?endpoint=https://h/path", nil, "endpoint is written https://host"},
		{"s3://b?endpoint=ftp://h", nil, "endpoint is written https://host"},
		{"s3://b?endpoint=https://user:canary@h", nil, "endpoint is written https://host"},
		{"s3://b?credentials=canary", nil, "credentials=canary is neither instance nor anonymous"},
		{"s3://b?alias=lab", nil, "MC_HOST_lab is not set"},
		{"s3://b?alias=lab", map[string]string{"MC_HOST_lab": "https://canary@h"}, "MC_HOST_lab is not written https://ACCESS:SECRET@host"},
		{"s3://b", map[string]string{"AWS_ACCESS_KEY_ID": "canary"}, "one of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY is set and the other is not"},
	} {
		_, err := s3.Parse(tt.location, func(name string) string { return tt.env[name] })
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Parse(%s) = %v, want %q", tt.location, err, tt.want)
		}
		if err != nil && strings.Contains(strings.ReplaceAll(err.Error(), "credentials=canary", ""), "canary") {
			t.Errorf("Parse(%s) shows a key: %v", tt.location, err)
		}
	}
}

// works puts and reads an object.
func works(t *testing.T, location string) error {
	t.Helper()
	c, err := s3.Parse(location, os.Getenv)
	if err != nil {
		return err
	}
	c.Retry = s3.Retry{Attempts: 2, First: time.Millisecond}
	b, err := s3.Open(c)
	if err != nil {
		return err
	}
	if err := b.Put(t.Context(), "a/x", store.Bytes([]byte("hello"))); err != nil {
		return err
	}
	if got := string(get(t, b, "a/x")); got != "hello" {
		t.Errorf("read %q", got)
	}
	return nil
}

// Keys are found where the tools of AWS and MinIO look for them, and a real server takes them.
func TestWhereKeysComeFrom(t *testing.T) {
	server := s3test.Start(t)
	bucket := server.NewBucket(t)
	location := server.Location(bucket, "keys", server.Endpoint)
	keys := "aws_access_key_id = " + server.Access + "\naws_secret_access_key = " + server.Secret + "\n"
	program := filepath.Join(t.TempDir(), "keys")
	doc := fmt.Sprintf(`{"Version":1,"AccessKeyId":%q,"SecretAccessKey":%q}`, server.Access, server.Secret)
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho '"+doc+"'\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	container := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"AccessKeyId":%q,"SecretAccessKey":%q,"Token":"","Expiration":%q}`,
			server.Access, server.Secret, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	}))
	defer container.Close()
	for _, tt := range []struct {
		name                string
		config, credentials string
		env                 map[string]string
		query               string
		wrong               string // the error, where there is to be one
	}{
		{name: "variables", env: map[string]string{"AWS_ACCESS_KEY_ID": server.Access, "AWS_SECRET_ACCESS_KEY": server.Secret}},
		{name: "shared credentials", credentials: "[default]\n" + keys},
		{name: "profile of the shared credentials", credentials: "[rack]\n" + keys, env: map[string]string{"AWS_PROFILE": "rack"}},
		{name: "profile of the configuration", config: "[profile rack]\n" + keys, query: "&profile=rack"},
		{name: "a program", config: "[profile rack]\ncredential_process = " + program + " for-piimg\n", query: "&profile=rack"},
		{name: "an alias of mc", env: map[string]string{"MC_HOST_lab": strings.Replace(server.Endpoint, "://", "://"+server.Access+":"+server.Secret+"@", 1)}, query: "&alias=lab"},
		{name: "the role of a container", env: map[string]string{"AWS_CONTAINER_CREDENTIALS_FULL_URI": container.URL}, query: "&credentials=instance"},
		{name: "a role that nobody asked for", env: map[string]string{"AWS_CONTAINER_CREDENTIALS_FULL_URI": container.URL}, wrong: "no keys: AWS_ACCESS_KEY_ID is not set"},
		{name: "nothing", wrong: "no keys: AWS_ACCESS_KEY_ID is not set, and profile default of the shared files"},
		{name: "another profile", credentials: "[default]\n" + keys, query: "&profile=rock", wrong: "profile rock of the shared files"},
		{name: "nobody", env: map[string]string{"AWS_ACCESS_KEY_ID": server.Access, "AWS_SECRET_ACCESS_KEY": server.Secret}, query: "&credentials=anonymous", wrong: "AccessDenied"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"} {
				t.Setenv(name, "")
				os.Unsetenv(name)
			}
			t.Setenv("HOME", home(t, tt.config, tt.credentials))
			for name, value := range tt.env {
				t.Setenv(name, value)
			}
			err := works(t, location+tt.query)
			if tt.wrong == "" && err != nil || tt.wrong != "" && (err == nil || !strings.Contains(err.Error(), tt.wrong)) {
				t.Errorf("%v, want %q", err, tt.wrong)
			}
			if err != nil && strings.Contains(err.Error(), server.Secret) {
				t.Errorf("it shows a key: %v", err)
			}
		})
	}
}

// A server with certificates of one's own: they are asked for by name, and what is sent is
// covered by its digest all the same, which a server without TLS needs and one with it allows
// to leave out.
func TestOwnCertificates(t *testing.T) {
	server := s3test.Start(t)
	proxy := s3test.NewProxy(t, server)
	front := httptest.NewUnstartedServer(proxy)
	front.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that are to fail
	front.StartTLS()
	defer front.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: front.Certificate().Raw}), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", server.Access)
	t.Setenv("AWS_SECRET_ACCESS_KEY", server.Secret)
	location := server.Location(server.NewBucket(t), "tls", front.URL)
	if err := works(t, location); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("with the system's certificates: %v", err)
	}
	proxy.Inject(func(r *http.Request) bool {
		return r.Method == http.MethodPut && r.Header.Get("X-Amz-Content-Sha256") != store.Sum([]byte("hello")).Hex()
	}, -1, s3test.Status(http.StatusBadRequest, "Unsigned"))
	if err := works(t, location+"&ca="+ca); err != nil {
		t.Errorf("with ca=: %v", err)
	}
	t.Setenv("AWS_CA_BUNDLE", ca)
	if err := works(t, location); err != nil {
		t.Errorf("with AWS_CA_BUNDLE: %v", err)
	}
	if err := works(t, location+"&ca=/nowhere"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("with a file that is not there: %v", err)
	}
	if err := os.WriteFile(ca, []byte("no PEM"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := works(t, location); err == nil || !strings.Contains(err.Error(), "has no certificates in PEM") {
		t.Errorf("with a file without certificates: %v", err)
	}
}
