// Package words finds words and phrases that keep readers out, in what users read.
package words

import (
	"regexp"
	"slices"
	"strings"
)

// Text is a piece of what users read.
type Text struct {
	// File below the repository's root, and the line on which the text starts.
	File string
	Line int
	Text string
}

// Finding is a pattern that a text contains.
type Finding struct {
	File    string
	Line    int
	Pattern Pattern
	// Match is the part of the text that the pattern matches.
	Match string
}

// Pattern is a word or phrase that keeps readers out.
type Pattern struct {
	// Match is a regular expression. Letter case does not matter, and a space stands for the end of a line too.
	Match string
	// Allowed is a regular expression for good English that contains a match; empty if there is none.
	Allowed string
	// Reason says what is wrong with it, and Instead what to write.
	Reason, Instead string
	// Bad is a sentence with the pattern, and Good says the same without it.
	Bad, Good string
}

// Exception is a text that may contain a pattern.
type Exception struct {
	// File below the repository's root; every file if it is empty.
	File string
	// Words are the match with some of the words around it.
	Words string
	// Reason says why the words are right there.
	Reason string
}

// Find returns every finding in texts, and the exceptions that no text needs.
func Find(texts []Text, patterns []Pattern, exceptions []Exception) (findings []Finding, unused []Exception) {
	excepted := make([]*regexp.Regexp, len(exceptions))
	for i, e := range exceptions {
		excepted[i] = compile(regexp.QuoteMeta(e.Words))
	}
	used := make([]bool, len(exceptions))
	for _, pattern := range patterns {
		match, allowed := compile(pattern.Match), compile(pattern.Allowed)
		for _, text := range texts {
			for _, at := range match.FindAllStringIndex(text.Text, -1) {
				if pattern.Allowed != "" && covers(allowed, text, at) {
					continue
				}
				if i := slices.IndexFunc(exceptions, func(e Exception) bool {
					return (e.File == "" || e.File == text.File) && covers(excepted[slices.Index(exceptions, e)], text, at)
				}); i >= 0 {
					used[i] = true
					continue
				}
				findings = append(findings, Finding{
					File:    text.File,
					Line:    text.Line + strings.Count(text.Text[:at[0]], "\n"),
					Pattern: pattern,
					Match:   text.Text[at[0]:at[1]],
				})
			}
		}
	}
	for i, e := range exceptions {
		if !used[i] {
			unused = append(unused, e)
		}
	}
	return findings, unused
}

// space is what stands between two words: spaces, or the end of a line and the start of the next line of a comment.
const space = `[ \t]*(?:[ \t]|\n[ \t]*(?:(?:#|//|>)[ \t]*)?)`

func compile(pattern string) *regexp.Regexp {
	return regexp.MustCompile(`(?i)\b(?:` + strings.ReplaceAll(pattern, " ", space) + `)\b`)
}

// covers says whether e matches the part of text at at, or more.
func covers(e *regexp.Regexp, text Text, at []int) bool {
	return slices.ContainsFunc(e.FindAllStringIndex(text.Text, -1), func(a []int) bool { return a[0] <= at[0] && at[1] <= a[1] })
}
