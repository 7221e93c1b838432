package main

import "github.com/prometheus/prometheus/promql/parser"

func main() { parser.ParseExpr("up") }
