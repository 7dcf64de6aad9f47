package mbr_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"piimg/pipeline/format/mbr"
)

func TestSfdiskReadsIt(t *testing.T) {
	head, err := mbr.Write(0xcafe0123, mbr.Partition{Type: mbr.FAT32, First: 2048, Count: 131072, Active: true}, mbr.Partition{Type: 0x83, First: 133120, Count: 8})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(file, head[:], 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, 100<<20); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sfdisk", "--json", file)
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	type partition struct {
		Start, Size int
		Type        string
		Bootable    bool
	}
	type table struct {
		Label, ID  string
		Partitions []partition
	}
	var got struct {
		Table table `json:"partitiontable"`
	}
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatal(err)
	}
	want := table{"dos", "0xcafe0123", []partition{{2048, 131072, "c", true}, {133120, 8, "83", false}}}
	if d := cmp.Diff(want, got.Table); d != "" {
		t.Errorf("sfdisk sees (-want +got):\n%s", d)
	}
}

func TestRefused(t *testing.T) {
	for name, list := range map[string][]mbr.Partition{
		"over the table": {{Type: 1, First: 0, Count: 5}},
		"over another":   {{Type: 1, First: 1, Count: 5}, {Type: 1, First: 5, Count: 5}},
		"empty":          {{Type: 1, First: 1}},
		"past the end":   {{Type: 1, First: 1<<32 - 1, Count: 2}},
		"five":           make([]mbr.Partition, 5),
	} {
		if _, err := mbr.Write(0, list...); err == nil {
			t.Errorf("%s: written", name)
		}
	}
}
