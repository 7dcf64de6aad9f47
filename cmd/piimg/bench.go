package main

import "github.com/spf13/cobra"

func newBench(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "bench",
		Short: "Measure a front end, this one or any other",
		Long:  "bench measures servers from the outside, so that different ones can be compared." + "\n" + exitCodes,
		Example: `  piimg bench storm --server 192.0.2.1 --boards 100
  piimg bench storm --http http://192.0.2.1:8080/{board} --boards 100`,
	}
	c.AddCommand(newBenchStorm(a))
	return c
}
