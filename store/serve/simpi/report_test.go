package simpi

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"piimg/store"
)

// sampleReport has every column and both severities.
func sampleReport() *Report {
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	kernel := store.Sum([]byte("kernel"))
	long := "overlays/" + strings.Repeat("very-", 12) + "long.dtbo"
	return &Report{
		Model: "pi4b", Serial: "91cdf03d", Server: "192.0.2.1:69", Prefix: "91cdf03d/", Outcome: Started, Attempts: 2,
		Bytes: 46052960, Duration: ms(9321),
		Requests: []Request{
			{Attempt: 1, Stage: StageEEPROM, Kind: Probe, Path: "91cdf03d/start4.elf", Result: Timeout, Duration: ms(5000), Resends: 2},
			{Attempt: 2, Stage: StageEEPROM, Kind: Probe, Path: "91cdf03d/start4.elf", Result: Found, Start: ms(5100), Duration: ms(1)},
			{Attempt: 2, Stage: StageEEPROM, Kind: Get, Path: "91cdf03d/config.txt", Result: Found, Start: ms(5101), Duration: ms(2),
				Bytes: 1120, Violations: []Violation{NoOACK, ZeroTsize}, Duplicates: 1, Strays: 3},
			{Attempt: 2, Stage: StageEEPROM, Kind: ExpectMissing, Path: "91cdf03d/recovery.elf", Result: Missing, Start: ms(5103)},
			{Attempt: 2, Stage: StageFirmware, Kind: Get, Path: "91cdf03d/" + long, Result: Short, Start: ms(5104), Duration: ms(10), Bytes: 200},
			{Attempt: 2, Stage: StageFirmware, Kind: Get, Path: "91cdf03d/vmlinuz", Result: Found, Start: ms(5114), Duration: ms(4200),
				Name: "vmlinuz", Bytes: 46051840, Digest: kernel},
		},
		Findings: []Problem{
			{Error, "91cdf03d/" + long + " broke off after 200 bytes: error 0 gone", "see the server's log"},
			{Warning, "the board had to send again, packets: 2", ""},
		},
		Resolved: Resolved{Kernel: File{"vmlinuz", kernel, 46051840}, Cmdline: "console=ttyAMA0,115200 root=/dev/ram0"},
	}
}

func TestWriteTo(t *testing.T) {
	var b strings.Builder
	n, err := sampleReport().WriteTo(&b)
	if err != nil || n != int64(b.Len()) {
		t.Errorf("WriteTo = %d, %v; want %d", n, err, b.Len())
	}
	want, err := os.ReadFile("testdata/report.txt")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("WriteTo (-testdata +got):\n%s", diff)
	}
	trail, _, _ := strings.Cut(b.String(), "pi4b (")
	for line := range strings.Lines(trail) {
		if len(line) > 101 {
			t.Errorf("line of %d columns: %s", len(line)-1, line)
		}
	}
}

func TestReportIsJSON(t *testing.T) {
	want := sampleReport()
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got Report
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, &got); diff != "" {
		t.Errorf("report after JSON (-want +got):\n%s", diff)
	}
	for _, key := range []string{`"outcome":"started"`, `"kernel":{"name":"vmlinuz","digest":"sha256:`, `"problems":[{"severity":"error"`, `"start_ns":`} {
		if !strings.Contains(string(text), key) {
			t.Errorf("%s is missing in %s", key, text)
		}
	}
}

func TestOK(t *testing.T) {
	warning, fatal := Problem{Severity: Warning}, Problem{Severity: Error}
	tests := []struct {
		outcome  Outcome
		findings []Problem
		want     bool
	}{
		{Started, nil, true},
		{Started, []Problem{warning}, true},
		{Started, []Problem{warning, fatal}, false},
		{RamdiskLoaded, nil, true},
		{FirmwareNotFound, nil, false},
		{KernelNotFound, nil, false},
		{Interrupted, nil, false},
	}
	for _, tt := range tests {
		if got := (&Report{Outcome: tt.outcome, Findings: tt.findings}).OK(); got != tt.want {
			t.Errorf("OK() with %s, %v = %v; want %v", tt.outcome, tt.findings, got, tt.want)
		}
	}
}
