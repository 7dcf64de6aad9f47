package main

import (
	"context"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"piimg/cmd/piimg/config"
	"piimg/store/serve"
)

// reloadWithin is how long a new environment's image may take before boards that are to get it
// wait for it themselves.
const reloadWithin = time.Minute

// reload reads the configuration file again whenever somebody asks for it, until ctx ends.
// What is wrong with it is said, and what held before goes on to hold.
func (a *app) reload(ctx context.Context, asked <-chan os.Signal, front *serve.Front, flags config.Serve, log *slog.Logger) error {
	var failed atomic.Bool
	front.Meter().Gauge("piimg_config_last_reload_successful", "0 where the configuration file was read again and something was wrong with it.", func() float64 {
		if failed.Load() {
			return 0
		}
		return 1
	})
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-asked:
		}
		c, err := a.servable(flags)
		var policy serve.Policy
		if err == nil {
			policy, err = policyOf(c)
		}
		if err == nil {
			patient, cancel := context.WithTimeout(ctx, reloadWithin)
			err = front.Replace(patient, policy)
			cancel()
		}
		failed.Store(err != nil)
		if err != nil {
			log.Error("the configuration is not taken, what held before goes on to hold", "err", err)
			continue
		}
		log.Info("the configuration was read again", "rules", len(policy.Rules.Rules), "networks", len(policy.Networks), "files", len(policy.Files))
	}
}
