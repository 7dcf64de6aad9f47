package main

import (
	"context"
	"log/slog"
	"os"
	"reflect"
	"strings"
	"sync/atomic"
	"time"

	"piimg/cmd/piimg/config"
	"piimg/store/serve"
)

// reloadWithin is how long a new environment's image may take before boards that are to get it
// wait for it themselves.
const reloadWithin = time.Minute

// reload reads the configuration file again whenever somebody asks for it, until ctx ends.
// What is wrong with it is said, and what held before goes on to hold. began is the
// configuration that front was started with.
func (a *app) reload(ctx context.Context, asked <-chan os.Signal, front *serve.Front, began, flags config.Serve, log *slog.Logger) error {
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
		if keys := fixedSince(began, c); len(keys) > 0 {
			log.Warn("some of what has changed holds only from the next start on", "settings", strings.Join(keys, " "))
		}
	}
}

// fixedSince are the settings that differ in began and now, of those that are read at the start
// only.
func fixedSince(began, now config.Serve) (keys []string) {
	was, is := reflect.ValueOf(began), reflect.ValueOf(now)
	for n := range was.NumField() {
		key := was.Type().Field(n).Tag.Get("toml")
		switch key {
		case "default", "addresses", "rule", "network", "file":
			continue // serve.Policy has them
		case "-":
			key = "[tftp]"
		}
		if !reflect.DeepEqual(was.Field(n).Interface(), is.Field(n).Interface()) {
			keys = append(keys, key)
		}
	}
	return keys
}
