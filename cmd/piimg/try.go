package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"

	"github.com/spf13/cobra"

	"piimg/cmd/piimg/config"
	"piimg/store"
	"piimg/store/serve/simpi"
)

func newTry(a *app) *cobra.Command {
	var o buildOptions
	env, model := "dev", "pi4b"
	c := &cobra.Command{
		Use:   "try RECIPE",
		Short: "Build an image and boot a simulated board from it",
		Long: `try goes the whole road once: it builds the recipe, promotes the image to an environment,
serves that on loopback, lets a simulated board fetch everything over TFTP as its firmware
would, fetches every file over HTTP by digest, and checks every byte. No hardware is used.` + "\n" + exitCodes,
		Example: `  piimg try recipes/quickstart.toml
  piimg try --model cm4 --env lab recipes/quickstart.toml`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runTry(cmd.Context(), a, args[0], env, model, o)
		},
	}
	buildFlags(c, &o)
	c.Flags().StringVar(&env, "env", env, "environment to promote the image to")
	c.Flags().StringVar(&model, "model", model, "board to simulate")
	return c
}

func runTry(ctx context.Context, a *app, file, env, model string, o buildOptions) error {
	if err := store.CheckEnv(env); err != nil {
		return usageError{err}
	}
	if err := checkModel(model); err != nil {
		return usageError{err}
	}
	b, err := runBuild(ctx, a, file, o)
	if err != nil {
		return err
	}
	s, err := a.openStore(ctx)
	if err != nil {
		return err
	}
	step, err := promote(ctx, a, s, b.Image.String(), env, stepOptions{reason: "piimg try"})
	if err != nil {
		return err
	}
	image, err := s.Image(ctx, b.Image)
	if err != nil {
		return err
	}
	a.ui.say("%s@%d runs %s", env, step.Seq, b.Image.Short())
	if err := a.tryBoot(ctx, s, image, env, model); err != nil {
		return err
	}
	a.ui.say("\nNext: serve real boards, and tell DHCP where the server is:\n")
	a.ui.say("    %s serve --tftp :69 --http :8080 --default %s", a.program, env)
	a.ui.say("    %s promote %s prod --reason \"first image\"\n", a.program, env)
	fmt.Fprintln(a.out, b.Image)
	return nil
}

// tryBoot serves the environment on loopback for one boot.
func (a *app) tryBoot(ctx context.Context, s *store.Store, image *store.Image, env, model string) error {
	cache, err := os.MkdirTemp("", "piimg-try-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(cache)
	f, err := openFrontEnd(attach(s), config.Serve{
		TFTP: "127.0.0.1:0", HTTP: "127.0.0.1:0", Default: env, Cache: cache,
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	f.announce(a)
	serveCtx, stop := context.WithCancel(ctx)
	served := make(chan error, 1)
	go func() { served <- f.run(serveCtx) }()
	err = a.bootAndFetch(ctx, f, image, model)
	stop()
	return errors.Join(err, <-served)
}

func (a *app) bootAndFetch(ctx context.Context, f *frontEnd, image *store.Image, model string) error {
	o := simulateOptions{model: model, style: string(simpi.StyleA), serial: "91cdf03d", prefix: string(simpi.PrefixSerial), timeout: simpi.DefaultFileTimeout}
	b, err := o.board()
	if err != nil {
		return err
	}
	report, err := a.simulate(ctx, b, f.tftp.Addr(), false)
	if err != nil {
		return err
	}
	if err := a.compare(report, image); err != nil {
		return err
	}
	if !report.OK() {
		return errFindings
	}
	for _, file := range image.Files {
		if err := fetchByDigest(ctx, f.web.Addr().String(), image.Digest, file); err != nil {
			return err
		}
	}
	a.ui.say("all %d files of the image came over HTTP by digest, every byte verified", len(image.Files))
	return nil
}

// fetchByDigest gets one file over HTTP and compares its bytes.
func fetchByDigest(ctx context.Context, server string, image store.Digest, f store.File) error {
	url := fmt.Sprintf("http://%s/by-digest/%s/%s", server, image, f.Path)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	got, n, err := store.SumReader(io.LimitReader(resp.Body, f.Size+1))
	switch {
	case err != nil:
		return fmt.Errorf("get %s: %w", url, err)
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("get %s: %s", url, resp.Status)
	case got != f.Digest || n != f.Size:
		return fmt.Errorf("get %s: %d bytes with the digest %s, want %d with %s", url, n, got.Short(), f.Size, f.Digest.Short())
	}
	return nil
}
