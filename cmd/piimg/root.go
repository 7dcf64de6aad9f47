package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os/user"
	"path/filepath"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

// newRoot is the command tree.
func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "piimg",
		Short: "Build, keep and serve the boot files of Raspberry Pis",
		Long: `piimg turns a recipe into the set of files that a Raspberry Pi boots from over the
network, keeps every byte under its SHA-256, says which image each environment runs, and
serves boards over TFTP and HTTP.

An image is named by its digest (sha256:…, or the first 8 digits or more), by an
environment (prod), by a step of its history (prod@41) or by how many images to go back
(prod~1).` + "\n" + exitCodes,
		Example: `  piimg build recipes/quickstart.toml
  piimg promote sha256:4f1c9a02 dev
  piimg promote dev prod
  piimg rollback prod
  piimg serve --tftp :69 --http :8080`,
		Version:                    version(),
		SilenceErrors:              true,
		SilenceUsage:               true,
		SuggestionsMinimumDistance: 2,
		CompletionOptions:          cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return hint(usageError{err}, "%s --help shows its flags", c.CommandPath())
	})
	flags := root.PersistentFlags()
	flags.StringVar(&a.store, "store", "", "where images are kept: a folder, or s3://bucket/prefix?endpoint=https://host (default: $PIIMG_STORE, or a folder of your data directory)")
	flags.StringVar(&a.refs, "refs", "", "where the environments and boards of that store are kept, if elsewhere (default: $PIIMG_REFS)")
	flags.StringVar(&a.configFile, "config", "", "configuration file (default: $PIIMG_CONFIG, or piimg/config.toml of your configuration directory)")
	root.AddGroup(
		&cobra.Group{ID: "make", Title: "Make images:"},
		&cobra.Group{ID: "keep", Title: "Keep and name them:"},
		&cobra.Group{ID: "sign", Title: "Sign them:"},
		&cobra.Group{ID: "boot", Title: "Boot boards:"},
	)
	add(root, "make", newBuild(a), newPlan(a), newLock(a), newLint(a), newRecipe(a), newBuildroot(a), newTry(a))
	add(root, "keep", newLs(a), newShow(a), newDiff(a), newExplain(a), newInitramfs(a), newPromote(a), newApprove(a), newRollback(a), newHistory(a), newYank(a), newCp(a), newPush(a), newPull(a), newExport(a), newWrite(a), newImport(a), newPin(a), newUnpin(a), newGC(a), newVerify(a), newFsck(a), newStore(a), newDoctor(a))
	add(root, "sign", newSign(a), newKey(a), newTrust(a))
	add(root, "boot", newServe(a), newSimulate(a), newBench(a), newBoard(a), newBoards(a), newTrail(a), newWhatif(a))
	strict(root)
	return root
}

// version is that of the module and of Go, as the go command recorded them.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "of an unknown build"
	}
	return info.Main.Version + " " + info.GoVersion
}

// add adds commands to a group.
func add(root *cobra.Command, group string, commands ...*cobra.Command) {
	for _, c := range commands {
		c.GroupID = group
		root.AddCommand(c)
	}
}

// strict makes whatever is wrong with a command line an error of wrong usage, which says
// what would be right, of c and all commands below it.
func strict(c *cobra.Command) {
	if c.Long == "" {
		c.Long = c.Short + "." + "\n" + exitCodes
	}
	if c.HasSubCommands() {
		c.Args, c.RunE = noCommand, func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
	check := c.Args
	c.Args = func(cmd *cobra.Command, args []string) error {
		err := check(cmd, args)
		if err == nil {
			err = cmd.ValidateRequiredFlags()
		}
		var h hinted
		if err == nil || errors.As(err, &h) {
			return err
		}
		return hint(usageError{fmt.Errorf("%s: %w", cmd.CommandPath(), err)}, "usage: %s", cmd.UseLine())
	}
	for _, sub := range c.Commands() {
		strict(sub)
	}
}

// noCommand takes no argument: what stands where a command is wanted is none.
func noCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	err := usageError{fmt.Errorf("%s has no command %s", cmd.CommandPath(), args[0])}
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		return hint(err, "did you mean %s?", strings.Join(near, " or "))
	}
	return hint(err, "%s --help lists what there is", cmd.CommandPath())
}

// dir is piimg's folder among the user's folders of one kind (XDG base directories).
func (a *app) dir(variable, below string) (string, error) {
	if d := a.getenv(variable); d != "" {
		return filepath.Join(d, "piimg"), nil
	}
	if home := a.getenv("HOME"); home != "" {
		return filepath.Join(home, below, "piimg"), nil
	}
	return "", hint(fmt.Errorf("neither %s nor HOME is set", variable), "set one of them, or say the folder: --store, and --cache of piimg serve")
}

func (a *app) cacheDir() (string, error) { return a.dir("XDG_CACHE_HOME", ".cache") }

// actor is who the history says it was.
func (a *app) actor() string {
	for _, name := range []string{a.getenv("PIIMG_ACTOR"), a.getenv("USER")} {
		if name != "" {
			return name
		}
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return "unknown"
}

// printJSON writes v as a result.
func (a *app) printJSON(v any) error {
	enc := json.NewEncoder(a.out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
