package open_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"piimg/store"
	"piimg/store/open"
	"piimg/store/peer"
	"piimg/store/s3"
)

func TestBucketOnDisk(t *testing.T) {
	t.Chdir(t.TempDir())
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct{ location, folder string }{
		{"relative", "relative"},
		{"./a/b", "a/b"},
		{here + "/absolute", "absolute"},
		{"file://" + here + "/url", "url"},
		{"file:" + here + "/short", "short"},
		{"file://" + here + "/with%20blank", "with blank"},
		{"a:b", "a:b"},
		{"mem:", "mem:"}, // nothing but a name: what is stored there stays
	}
	for _, tt := range tests {
		b, err := open.Bucket(t.Context(), tt.location)
		if err != nil {
			t.Errorf("Bucket(%s) = %v", tt.location, err)
			continue
		}
		if err := b.Put(t.Context(), "key", store.Bytes(nil)); err != nil {
			t.Errorf("Bucket(%s).Put = %v", tt.location, err)
		}
		if _, err := os.Stat(filepath.Join(here, tt.folder, "key")); err != nil {
			t.Errorf("Bucket(%s): %v", tt.location, err)
		}
	}
}

// TestForms: what is offered keeps what it is given.
func TestForms(t *testing.T) {
	if got, want := open.Forms(), "a path, file:///path, "+s3.Form+", "+peer.Form; got != want {
		t.Errorf("Forms = %s; want %s", got, want)
	}
}

func TestBucketErrors(t *testing.T) {
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"} {
		t.Setenv(name, "")
	}
	t.Setenv("HOME", t.TempDir())
	tests := []struct{ location, want string }{
		{"", `open store "": the location is empty: use a path, file:///path, s3://`},
		{"ftp://host/x", `scheme "ftp" is not known: use a path`},
		{"s3:fleet", "is written s3://bucket/prefix"},
		{"s3://key:secret@host/fleet", `open store "s3://host/fleet": keys do not belong`},
		{"s3://fleet?secret=canary", `open store "s3://fleet": "secret" is none of`},
		{"s3://fleet", "no keys: AWS_ACCESS_KEY_ID is not set"},
		{"file:relative", "absolute path"},
		{"file://host/path", "three slashes"},
		{"file:///a?b", "nothing after it"},
		{"file:///%zz", "invalid URL escape"},
		{"open_test.go", "not a folder"},
	}
	for _, tt := range tests {
		_, err := open.Bucket(t.Context(), tt.location)
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("Bucket(%q) = %v; want %q in the error", tt.location, err, tt.want)
		}
	}
}
