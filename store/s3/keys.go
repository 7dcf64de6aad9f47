package s3

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/minio/minio-go/v7/pkg/credentials"
	"gopkg.in/ini.v1"
)

// Keys are who signs requests. They do not show what they are when they are printed.
type Keys struct {
	kind                  kind
	access, secret, token string // of static keys
	profile               string
}

type kind int

const (
	anonymous kind = iota
	static
	profile  // of the shared files
	instance // of the machine that this runs on, by its metadata service
)

func (k Keys) String() string {
	return [...]string{"no keys", "static keys", "keys of profile " + k.profile, "keys of the instance"}[k.kind]
}

// GoString is String: %#v shows nothing else either.
func (k Keys) GoString() string { return k.String() }

// keysOf picks the keys: those that the location asks for, those of the alias, those of the
// environment, those of the profile.
func keysOf(asked, named string, a alias, env func(string) string) (Keys, error) {
	switch asked {
	case "":
	case "instance":
		return Keys{kind: instance}, nil
	case "anonymous":
		return Keys{}, nil
	default:
		return Keys{}, fmt.Errorf("credentials=%s is neither instance nor anonymous; keys do not belong into a location", asked)
	}
	if a.keys.kind == static {
		return a.keys, nil
	}
	if named != "" {
		return Keys{kind: profile, profile: named}, nil
	}
	access, secret := env("AWS_ACCESS_KEY_ID"), env("AWS_SECRET_ACCESS_KEY")
	if access != "" && secret != "" {
		return Keys{kind: static, access: access, secret: secret, token: env("AWS_SESSION_TOKEN")}, nil
	}
	if access != "" || secret != "" {
		return Keys{}, errors.New("one of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY is set and the other is not")
	}
	return Keys{kind: profile, profile: first(env("AWS_PROFILE"), "default")}, nil
}

// credentials are the keys as minio-go takes them. Those that this machine can tell are
// looked up at once.
func (c Config) credentials() (*credentials.Credentials, error) {
	switch c.Keys.kind {
	case static:
		return credentials.NewStaticV4(c.Keys.access, c.Keys.secret, c.Keys.token), nil
	case instance:
		return credentials.NewIAM(""), nil
	case profile:
		found := credentials.NewFileAWSCredentials("", c.Keys.profile)
		v, err := found.GetWithContext(nil)
		if err == nil && v.AccessKeyID == "" {
			err = errors.New("it has none")
		}
		if err != nil {
			return nil, &HintError{fmt.Errorf("no keys: AWS_ACCESS_KEY_ID is not set, and profile %s of the shared files: %w", c.Keys.profile, err),
				"set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; or add ?alias=NAME (of MC_HOST_NAME), credentials=instance or credentials=anonymous"}
		}
		return found, nil
	}
	return credentials.NewStaticV4("", "", ""), nil
}

// alias is a server as mc knows it.
type alias struct {
	endpoint string
	keys     Keys
}

// readAlias reads MC_HOST_<name>: https://ACCESS:SECRET[:TOKEN]@host. Errors do not repeat
// what it says.
func readAlias(name string, env func(string) string) (alias, error) {
	if name == "" {
		return alias{}, nil
	}
	variable := "MC_HOST_" + name
	value := env(variable)
	if value == "" {
		return alias{}, fmt.Errorf("alias=%s: %s is not set", name, variable)
	}
	scheme, rest, ok := strings.Cut(value, "://")
	at := strings.LastIndexByte(rest, '@')
	if !ok || at < 0 {
		return alias{}, fmt.Errorf("%s is not written https://ACCESS:SECRET@host", variable)
	}
	keys := strings.SplitN(rest[:at], ":", 3)
	if len(keys) < 2 || keys[0] == "" || keys[1] == "" {
		return alias{}, fmt.Errorf("%s is not written https://ACCESS:SECRET@host", variable)
	}
	a := alias{scheme + "://" + strings.TrimSuffix(rest[at+1:], "/"), Keys{kind: static, access: keys[0], secret: keys[1]}}
	if len(keys) == 3 {
		a.keys.token = keys[2]
	}
	return a, nil
}

// shared is what the AWS configuration file says, besides keys.
type shared struct{ region, endpoint string }

// readShared reads the section of a profile; a file or section that is not there says
// nothing.
func readShared(named string, env func(string) string) (shared, error) {
	file := first(env("AWS_CONFIG_FILE"), filepath.Join(env("HOME"), ".aws", "config"))
	cfg, err := ini.Load(file)
	if errors.Is(err, fs.ErrNotExist) {
		return shared{}, nil
	}
	if err != nil {
		return shared{}, fmt.Errorf("read %s: it is no AWS configuration file", file)
	}
	section := first(named, env("AWS_PROFILE"), "default")
	if section != "default" {
		section = "profile " + section
	}
	s, err := cfg.GetSection(section)
	if err != nil {
		return shared{}, nil // only keys may be there
	}
	return shared{s.Key("region").String(), s.Key("endpoint_url").String()}, nil
}
