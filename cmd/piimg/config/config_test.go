package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func write(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestLoad(t *testing.T) {
	got, err := Load(write(t, `
[serve]
tftp    = ":69"
default = "prod"
cache_size = "1.5 GiB"
addresses = { "192.0.2.7" = "91cdf03d" }
[tftp]
timeout       = "2s"
timeout_floor = "250ms"
`), false)
	want := Config{Serve: Serve{TFTP: ":69", Default: "prod", CacheSize: 3 << 29, Addresses: map[string]string{"192.0.2.7": "91cdf03d"}},
		TFTP: TFTP{Timeout: Duration(2 * time.Second), TimeoutFloor: Duration(250 * time.Millisecond)}}
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
}

// A mode may be written out that goes without saying.
func TestModeNet(t *testing.T) {
	got, err := Load(write(t, "[[serve.rule]]\nlabels = {a = \"b\"}\nmode = \"net\"\nenv = \"prod\"\n"), false)
	want := []Rule{{Labels: map[string]string{"a": "b"}, Target: Target{Env: "prod", Mode: "net"}}}
	if d := cmp.Diff(want, got.Serve.Rule); err != nil || d != "" {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
}

func TestLoadPolicy(t *testing.T) {
	got, err := Load(write(t, `
[sign]
key   = "~/.ssh/id_ed25519.pub"
trust = "trust"
[policy."*"]
reason = true
[policy.dev]
images = []
[policy.prod]
from      = ["staging"]
soak      = "7d"
protected = true
approvals = 2
images    = ["builder"]
`), false)
	want := Config{Sign: Sign{"~/.ssh/id_ed25519.pub", "trust"}, Policy: map[string]Policy{
		"*": {Reason: true}, "dev": {Images: []string{}},
		"prod": {From: []string{"staging"}, Soak: Duration(7 * 24 * time.Hour), Protected: true, Approvals: 2, Images: []string{"builder"}},
	}}
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
}

func TestLoadSaysWhatIsWrong(t *testing.T) {
	for text, want := range map[string]string{
		"[serve]\ncache_size = \"2x\"": "config.toml: toml: line 2",
		"[serve]\nfoo = 1":             "unknown key serve.foo",
		"[serve]\n\nblksize = [":       "config.toml: toml: line 3",
		"[serve]\nblksize = \"x\"":     "config.toml: toml: line 2",

		"[tftp]\ntimeout = 1": "config.toml: toml: line 2",

		"[[serve.rule]]\nlabels = {a = \"b\"}":                      "serve.rule 1: say what its boards get",
		"[[serve.rule]]\nlabels = {a = \"b\"}\nmode = \"net\"":      "serve.rule 1: mode is net, say which environment",
		"[[serve.rule]]\nenv = \"prod\"":                            "serve.rule 1: it has no labels",
		"[[serve.network]]\nprefix = \"10.0.0.0/8\"\nmode = \"of\"": "serve.network 10.0.0.0/8: mode \"of\" is none of net, local, off",
		"[[serve.network]]\nenv = \"prod\"":                         "serve.network: say which",
		"[[serve.network]]\nenv = \"a\"\nmode = \"local\"":          "env and mode are there",
		"[serve]\naddresses = {\"192.0.2\" = \"91cdf03d\"}":         "serve.addresses: \"192.0.2\" is no IP address",
	} {
		if _, err := Load(write(t, text), true); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Load(%q) = %v, want %q", text, err, want)
		}
	}
	none := filepath.Join(t.TempDir(), "none")
	if _, err := Load(none, true); err != nil {
		t.Errorf("no file, optional: %v", err)
	}
	if _, err := Load(none, false); err == nil {
		t.Error("no file, wanted: no error")
	}
}

func TestLoadBoards(t *testing.T) {
	want := []Board{
		{Board: "91cdf03d", Env: "prod", Also: []string{"a", "b"}, Labels: map[string]string{"rack": "a1"}, Vars: map[string]string{"hostname": "lobby, left"}},
		{Board: "0000000a", Mode: "local"},
	}
	for name, text := range map[string]string{
		"list.csv":       "board,env,mode,also,label:rack,var:hostname\n# a comment\n91cdf03d,prod,,a b,a1,\"lobby, left\"\n0000000a,,local,,,\n",
		"excel.csv":      "\ufeffboard;env;mode;also;label:rack;var:hostname\r\n91cdf03d;prod;;a b;a1;lobby, left\r\n0000000a;;local;;;\r\n",
		"list.toml":      "[[board]]\nboard = \"91cdf03d\"\nenv = \"prod\"\nalso = [\"a\", \"b\"]\nlabels.rack = \"a1\"\nvars.hostname = \"lobby, left\"\n[[board]]\nboard = \"0000000a\"\nmode = \"local\"\n",
		"reordered.toml": "board = [{board = \"91cdf03d\", env = \"prod\", also = [\"a\", \"b\"], labels = {rack = \"a1\"}, vars = {hostname = \"lobby, left\"}}, {mode = \"local\", board = \"0000000a\"}]\n",
	} {
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		got, err := LoadBoards(file)
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.IgnoreFields(Board{}, "Where")); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
		}
		for n, line := range map[string]map[int]string{"list.csv": {0: ":3", 1: ":4"}, "list.toml": {0: ":1", 1: ":7"}, "reordered.toml": {0: "", 1: ""}}[name] {
			if got[n].Where != file+line {
				t.Errorf("%s: board %d is at %s, want %s", name, n, got[n].Where, file+line)
			}
		}
	}
	for text, want := range map[string]string{
		"board,colour\nx,y\n": `unknown column "colour"`,
		"board,env\nx\n":      "wrong number of fields",
		"":                    "read the header",
	} {
		file := filepath.Join(t.TempDir(), "x.csv")
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadBoards(file); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}
