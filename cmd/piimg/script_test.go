package main

import (
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"piimg/store/s3/s3test"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"piimg": main})
}

// The scripts meet the program as a user does: its real main, its texts, its exit codes.
// Each has a home, a store and free ports of its own; Go modules come from the machine's
// cache.
func TestScript(t *testing.T) {
	runScripts(t, "testdata/script", nil, func(e *testscript.Env) []string {
		return []string{"PIIMG_STORE=" + e.WorkDir + "/store"}
	})
}

// The same on a real S3 server: each script has a bucket of its own, at ENDPOINT and behind
// two proxies: at WEAK, which ignores If-None-Match, and at PROXY, which takes any host for
// that of the server.
func TestScriptS3(t *testing.T) {
	server := s3test.Start(t)
	weak := s3test.NewProxy(t, server)
	plain := s3test.NewProxy(t, server)
	weak.Inject(s3test.Method(http.MethodPut), -1, server.Unconditional)
	commands := map[string]func(*testscript.TestScript, bool, []string){"gate": gate}
	runScripts(t, "testdata/script/s3", commands, func(e *testscript.Env) []string {
		bucket := server.NewBucket(t)
		proxy := s3test.NewProxy(t, server)
		e.Values[gateKey{}] = proxy
		return []string{
			"GATE=" + proxy.URL,
			"BUCKET=" + bucket, "ENDPOINT=" + server.Endpoint, "WEAK=" + weak.URL, "PROXY=" + plain.URL, "DOMAIN=" + s3test.Domain, "SECRET=" + server.Secret, "SERVED=" + server.Folder(),
			"AWS_ACCESS_KEY_ID=" + server.Access, "AWS_SECRET_ACCESS_KEY=" + server.Secret,
			"PIIMG_STORE=" + server.Location(bucket, "fleet", server.Endpoint),
		}
	})
}

type gateKey struct{}

// gate lets requests to the server through, or none.
func gate(ts *testscript.TestScript, neg bool, args []string) {
	proxy := ts.Value(gateKey{}).(*s3test.Proxy)
	switch {
	case neg || len(args) != 1 || args[0] != "up" && args[0] != "down":
		ts.Fatalf("usage: gate up|down")
	case args[0] == "up":
		proxy.Heal()
	default:
		proxy.Inject(s3test.Method(""), -1, func(http.ResponseWriter, *http.Request, func() (*http.Response, error)) {
			panic(http.ErrAbortHandler)
		})
	}
}

func runScripts(t *testing.T, dir string, commands map[string]func(*testscript.TestScript, bool, []string), vars func(*testscript.Env) []string) {
	goEnv := moduleSettings(t)
	testscript.Run(t, testscript.Params{
		Dir:                 dir,
		Cmds:                commands,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			home := e.WorkDir + "/home"
			e.Vars = append(e.Vars, goEnv...)
			e.Vars = append(e.Vars, "HOME="+home, "USER=alice", "TZ=UTC", "TFTP="+s3test.FreeAddress(t, "udp"))
			for _, name := range []string{"HTTP", "HTTPS", "RACK"} {
				e.Vars = append(e.Vars, name+"="+s3test.FreeAddress(t, "tcp"))
			}
			e.Vars = append(e.Vars, vars(e)...)
			return os.MkdirAll(home, 0o755)
		},
	})
}

// moduleSettings says where the go command finds modules.
func moduleSettings(t *testing.T) []string {
	t.Helper()
	names := []string{"GOMODCACHE", "GOCACHE", "GOPROXY", "GOSUMDB", "GOROOT"}
	out, err := exec.Command("go", append([]string{"env"}, names...)...).Output()
	if err != nil {
		t.Fatal(err)
	}
	var vars []string
	for n, value := range strings.Split(strings.TrimRight(string(out), "\n"), "\n") {
		vars = append(vars, names[n]+"="+value)
	}
	return vars
}
