use crate::{Template, Value};

fn data() -> Value {
    let json = r#"{"A":"x","N":3,"B":true,"L":["p","q"],"M":{"k2":2,"k1":[1,2]},"F":1.5,"E":null,
        "Z":[],"S":"<a href='b'>"}"#;
    serde_json::from_str(json).expect("json")
}

fn run(text: &str) -> Result<String, String> {
    let template = Template::parse("", text).map_err(|error| error.to_string())?;
    template.execute(&data()).map_err(|error| error.to_string())
}

#[test]
fn values_print_as_in_go() {
    for (text, want) in [
        ("{{.A}}-{{.N}}-{{.B}}-{{.F}}", "x-3-true-1.5"),
        ("{{.L}} {{.M}}", "[p q] map[k1:[1 2] k2:2]"),
        (
            "{{.Missing}} {{.Missing.Deep}} {{.E}}",
            "<no value> <no value> <no value>",
        ),
        (
            "{{json .}}",
            r#"{"A":"x","B":true,"E":null,"F":1.5,"L":["p","q"],"M":{"k1":[1,2],"k2":2},"N":3,"S":"<a href='b'>","Z":[]}"#,
        ),
        ("a {{- /* c */ -}} b {{- .A -}}  c", "abxc"),
        ("{{ .A -}}\n  z", "xz"),
        ("{{`raw\\n`}}{{\"q\\n\"}}{{'a'}}", "raw\\nq\n97"),
    ] {
        assert_eq!(run(text).as_deref(), Ok(want), "{text}");
    }
}

#[test]
fn control() {
    for (text, want) in [
        ("{{if .B}}y{{else}}n{{end}}", "y"),
        ("{{if .Z}}y{{else if .A}}z{{else}}n{{end}}", "z"),
        ("{{range .L}}<{{.}}>{{end}}", "<p><q>"),
        ("{{range $i, $x := .L}}{{$i}}{{$x}}{{end}}", "0p1q"),
        (
            "{{range $k, $v := .M}}{{$k}}={{$v}};{{end}}",
            "k1=[1 2];k2=2;",
        ),
        ("{{range .Z}}x{{else}}none{{end}}", "none"),
        (
            "{{range .L}}{{break}}{{end}}{{range .L}}{{if eq . \"p\"}}{{continue}}{{end}}{{.}}{{end}}",
            "q",
        ),
        (
            "{{with .A}}{{.}}{{$.N}}{{end}}{{with .E}}x{{else}}e{{end}}",
            "x3e",
        ),
        ("{{$x := 1}}{{if true}}{{$x = 2}}{{end}}{{$x}}", "2"),
        ("{{define \"t\"}}[{{.}}]{{end}}{{template \"t\" .N}}", "[3]"),
        ("{{block \"b\" .A}}<{{.}}>{{end}}", "<x>"),
        ("{{(index .L 1)}}{{(index .M \"k1\") | len}}", "q2"),
    ] {
        assert_eq!(run(text).as_deref(), Ok(want), "{text}");
    }
}

#[test]
fn functions() {
    for (text, want) in [
        (
            "{{upper .A}}{{lower \"AB\"}}{{title \"foo bar\"}}",
            "XabFoo Bar",
        ),
        ("{{join .L \",\"}} {{split \"a:b\" \":\"}}", "p,q [a b]"),
        ("{{pad .A 2 1}}|{{truncate \"abcdef\" 3}}", "  x |abc"),
        (
            "{{printf \"%5.2f|%-4s|%03d|%q|%v|%x\" .F .A .N .A .L \"hi\"}}",
            " 1.50|x   |003|\"x\"|[p q]|6869",
        ),
        ("{{printf \"%d %s\" .A}}", "%!d(string=x) %!s(MISSING)"),
        ("{{print 1 2 \"a\" 3}} {{println .A .N}}", "1 2a3 x 3\n"),
        (
            "{{html .S}} {{js \"a'b\"}} {{urlquery \"a b&\"}}",
            "&lt;a href=&#39;b&#39;&gt; a\\'b a+b%26",
        ),
        ("{{and .A .N}} {{or .Z .A}} {{not .B}}", "3 x false"),
        (
            "{{eq .N 3}} {{eq .A \"y\" \"x\"}} {{ne .N 3}} {{lt 1 2}} {{ge .F 1.5}}",
            "true true false true true",
        ),
        ("{{.A | printf \"%s-%s\" \"b\"}}", "b-x"),
        (
            "{{slice .L 1}} {{slice \"abcd\" 1 3}} {{len .M}}",
            "[q] bc 2",
        ),
    ] {
        assert_eq!(run(text).as_deref(), Ok(want), "{text}");
    }
}

#[test]
fn errors_are_gos() {
    for (text, want) in [
        ("{{.Foo}", "template: :1: bad character U+007D '}'"),
        ("{{foo}}", "template: :1: function \"foo\" not defined"),
        ("{{if .A}}", "template: :1: unexpected EOF"),
        ("{{end}}", "template: :1: unexpected {{end}}"),
        ("{{.A", "template: :1: unclosed action"),
        ("{{}}", "template: :1: missing value for command"),
        ("{{$x}}", "template: :1: undefined variable \"$x\""),
        (
            "{{.A.B}}",
            "template: :1:4: executing \"\" at <.A.B>: can't evaluate field B in type interface {}",
        ),
        (
            "{{index .L 5}}",
            "template: :1:2: executing \"\" at <index .L 5>: error calling index: index out of range: 5",
        ),
        (
            "{{range .N}}{{end}}{{range .A}}{{end}}",
            "template: :1:27: executing \"\" at <.A>: range can't iterate over x",
        ),
        (
            "{{upper .N}}",
            "template: :1:8: executing \"\" at <.N>: wrong type for value; expected string; got int",
        ),
        (
            "{{upper}}",
            "template: :1:2: executing \"\" at <upper>: wrong number of args for upper: want 1 got 0",
        ),
    ] {
        assert_eq!(run(text).expect_err(text), want);
    }
    let strict = Template::parse("", "{{.Foo}}").expect("valid");
    assert_eq!(
        strict
            .execute_strict(&data())
            .expect_err("missing")
            .to_string(),
        "template: :1:2: executing \"\" at <.Foo>: map has no entry for key \"Foo\""
    );
    let fields = Value::Struct("*formatter.ContainerContext", vec![]);
    assert_eq!(
        strict.execute(&fields).expect_err("missing").to_string(),
        "template: :1:2: executing \"\" at <.Foo>: can't evaluate field Foo in type *formatter.ContainerContext"
    );
}

#[test]
fn deep_nesting_is_refused() {
    let text = format!("{{{{{}1{}}}}}", "(".repeat(5000), ")".repeat(5000));
    assert!(run(&text).is_err());
    let text = "{{if true}}".repeat(5000);
    assert!(run(&text).is_err());
}

#[test]
fn what_structs_leave_out() {
    let pair = |name: &str, value: Value| (name.to_owned(), value);
    let row = Value::Struct(
        "inspected",
        vec![
            pair("ID", Value::Named("Id", Box::new(Value::from("x")))),
            pair("Name", Value::Omitted(Box::new(Value::from("")))),
            pair("Binds", Value::Null("[]")),
            pair("Health", Value::Null("<nil>")),
        ],
    );
    let run = |text: &str| {
        let template = crate::Template::parse("", text).expect("valid");
        template.execute(&row).expect("fits")
    };
    assert_eq!(
        run("{{.ID}} {{.Health}} {{.Binds}} {{len .Binds}}"),
        "x <nil> [] 0"
    );
    let template = crate::Template::parse("", "{{.Id}}").expect("valid");
    assert!(template.execute(&row).is_err());
    assert_eq!(run("{{.}}"), "{x  [] <nil>}");
    assert_eq!(
        run("{{json .}}"),
        r#"{"Id":"x","Binds":null,"Health":null}"#
    );
    assert_eq!(
        run("{{range .Binds}}x{{else}}none{{end}}{{eq .Name \"\"}}"),
        "nonetrue"
    );
}

#[test]
fn rows_escape_for_html() {
    let row = Value::Struct(
        "*x.rowContext",
        vec![("A".to_owned(), Value::from("a<b>&"))],
    );
    let template = crate::Template::parse("", "{{json .}} {{json .A}}").expect("valid");
    assert_eq!(
        template.execute(&row).expect("fits"),
        r#"{"A":"a\u003cb\u003e\u0026"} "a<b>&""#
    );
}
