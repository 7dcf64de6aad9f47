package open_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"piimg/store"
	"piimg/store/open"
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

func TestBucketInMemory(t *testing.T) {
	a, err := open.Bucket(t.Context(), "mem:")
	if err != nil {
		t.Fatal(err)
	}
	b, err := open.Bucket(t.Context(), "mem:")
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Put(t.Context(), "key", store.Bytes(nil)); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Stat(t.Context(), "key"); err == nil {
		t.Error("two buckets in memory share an object")
	}
}

func TestBucketErrors(t *testing.T) {
	tests := []struct{ location, want string }{
		{"", `open store "": the location is empty: use a path, file:///path, mem:`},
		{"ftp://host/x", `scheme "ftp" is not known: use a path`},
		{"s3://fleet/prod", "S3 is not in this version"},
		{"s3:fleet", "S3 is not in this version"},
		{"s3://key:secret@host/fleet", `open store "s3://host/fleet": S3`},
		{"mem:x", "has no name"},
		{"file:relative", "absolute path"},
		{"file://host/path", "three slashes"},
		{"file:///a?b", "nothing after it"},
		{"file:///%zz", "invalid URL escape"},
		{"open_test.go", "not a folder"},
	}
	for _, tt := range tests {
		_, err := open.Bucket(t.Context(), tt.location)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Bucket(%q) = %v; want %q in the error", tt.location, err, tt.want)
		}
	}
}
